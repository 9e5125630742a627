"""A Hub in this process: the few addresses that pushing and fetching a model speak to."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the endpoint holds, and how it answers.

    Attributes:
        files: By repository: file name -> content.
        private: Repositories that were made private.
        refusal: Status and ``X-Error-Code`` of every answer; None answers properly.
        cut: Bytes that a proxy on the way leaves out at the end of every file.
        asked: Files that were asked for.
        token: The token of the last request that wrote.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self.cut = 0
        self.asked: list[str] = []
        self.token: str | None = None
        self.address = ""


@contextmanager
def serving():
    """Serves a new :class:`Hub` on this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        self.hub.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        path = urlsplit(self.path).path
        if self._refused():
            return
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}" if "organization" in asked else ""
            self.hub.files.setdefault(repo, {})
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.append(repo)
            self._json({"url": f"{self.hub.address}/{repo}", "name": repo})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self._json({"files": modes})
        elif "/commit/" in path:
            repo = path.removeprefix("/api/models/").split("/commit/")[0]
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    self.hub.files[repo][entry["value"]["path"]] = content
            self._json(
                {"commitUrl": f"{self.hub.address}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}
            )
        else:
            self._send(404)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self._refused():
            return
        repo = "/".join(path.removeprefix("/api/models/").strip("/").split("/")[:2])
        files = self.hub.files.get(repo)
        if files is None:
            self._send(401, code="RepoNotFound")
        elif "/tree/" in path:
            rows = [
                {"type": "file", "path": n, "size": len(c), "oid": _hash(c)}
                for n, c in files.items()
            ]
            self._json(rows)
        elif "/resolve/" in path:
            self._file(files, path.split(f"/resolve/{COMMIT}/")[-1])
        elif path.startswith("/api/models/"):
            revision = path.split("/revision/")[-1] if "/revision/" in path else "main"
            if revision not in ("main", COMMIT):
                self._send(404, code="RevisionNotFound")
                return
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": repo, "sha": COMMIT, "siblings": siblings, "private": False})
        else:
            self._send(404)

    def _file(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self._send(404, code="EntryNotFound")
            return
        content = files[name]
        headers = {"ETag": f'"{_hash(content)}"', "X-Repo-Commit": COMMIT}
        if self.command == "GET":
            self.hub.asked.append(name)
        if self.command == "GET":
            content = content[: len(content) - self.hub.cut]
        self._send(200, content, headers)

    def _refused(self) -> bool:
        if self.hub.refusal is not None:
            self._send(self.hub.refusal[0], code=self.hub.refusal[1])
        return self.hub.refusal is not None

    def _json(self, content) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status, content=b"", headers=None, code="") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
