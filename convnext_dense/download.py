"""Downloads with a cache: https, sha256 checks, and one sentence for each error.

Files are stored in ``convnext_dense/`` of torch hub's folder (``TORCH_HOME`` moves it), completely
or not at all. Without a given hash the first download is trusted: its hash is logged and stored
next to the file, and a file that has changed since is refused. The Hugging Face Hub gets the
user's token, and no other server does.
"""

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from convnext_dense.atomic_files import replacing, write_atomically
from convnext_dense.errors import UserError
from convnext_dense.messages import say

try:
    import fcntl
except ImportError:  # Windows: processes do not wait for each other, each downloads its own copy
    fcntl = None

TIMEOUT_S = 15  # for the connection, and for each silence while reading
CHUNK_BYTES = 1 << 20
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
HUB_HOST = "huggingface.co"
REFUSED = (401, 403)  # not logged in; logged in, but without the right to the file


def cache_path(url: str) -> Path:
    """The path of an address's file in the cache; different addresses never share a file."""
    import torch  # whose folder it is; an image of an address is kept nowhere

    name = Path(urlsplit(url).path).name or "weights.pth"
    key = hashlib.sha256(url.encode()).hexdigest()[:8]
    stem, dot, ending = name.rpartition(".")
    name = f"{stem}-{key}.{ending}" if dot else f"{name}-{key}"
    return Path(torch.hub.get_dir()) / "convnext_dense" / name


def fetch(url: str, sha256: str | None = None) -> Path:
    """Returns the local copy of a file, downloading it on first use.

    Args:
        url: https; http only together with ``sha256`` or from this machine.
        sha256: The hash that the file must have, in hexadecimal.

    Raises:
        UserError: For a forbidden address, a failed download, or another hash than expected.
    """
    sha256 = check_form(sha256)
    _check_address(url, sha256)
    path = cache_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if path.exists():
            _verify_cached(path, sha256)
        else:
            _download(url, path, sha256)
    return path


def read_bytes(url: str) -> bytes:
    """The content of an address, which is kept nowhere.

    Args:
        url: https; http only from this machine.

    Raises:
        UserError: For a forbidden address or a failed download.
    """
    _check_address(url, None)
    try:
        with _open(url, None) as response:
            return response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"Cannot download {url} ({reason}): check the address.") from error


def check_form(sha256: str | None) -> str | None:
    """Checks the form of a hash given by the user, and returns it in lower case."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"{sha256!r} is no sha256: give all 64 hexadecimal digits.")
    return sha256.lower() if sha256 else None


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check_address(url: str, sha256: str | None) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        return
    if parts.scheme == "http" and sha256:
        return
    raise UserError(
        f"{url} is not fetched: anyone on the way could change the file. Use https, or give the "
        "file's sha256 with an http address."
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Admits one process at a time, so that eight GPUs' processes download a file once."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it, even after a kill
        yield


def _hash_file(path: Path) -> Path:
    """The file with the hash of a download that was trusted on first use."""
    return path.with_name(f"{path.name}.sha256")


def _verify_cached(path: Path, sha256: str | None) -> None:
    actual = file_sha256(path)
    hash_file = _hash_file(path)
    if sha256 and actual != sha256:
        path.unlink()
        hash_file.unlink(missing_ok=True)
        raise UserError(
            f"{path} has the sha256 {actual}, not the expected {sha256}: the file was removed. "
            "Check the hash; the next start downloads the file again."
        )
    if sha256:
        return
    if not hash_file.exists():
        _trust(path, actual)
    elif actual != (known := hash_file.read_text().strip()):
        path.unlink()
        raise UserError(
            f"{path} has changed since it was first used (sha256 {actual}, then {known}): the file "
            f"was removed. If the change is meant, delete {hash_file} as well."
        )


def _trust(path: Path, sha256: str) -> None:
    write_atomically(_hash_file(path), sha256 + "\n")
    say(
        f"No sha256 was given or is published for {path.name}: trusting this copy, sha256 "
        f"{sha256}, from now on."
    )


def _download(url: str, path: Path, sha256: str | None) -> None:
    say(f"Downloading {url} to {path}")
    with replacing(path) as temporary:
        actual = _transfer(url, temporary, sha256)
        known = _hash_file(path).read_text().strip() if _hash_file(path).exists() else None
        expected = sha256 or known
        if expected and actual != expected:
            raise UserError(
                f"{url} has the sha256 {actual}, not the expected {expected}: the download was "
                f"removed. Check the hash (remembered ones: {_hash_file(path)})."
            )
    if not expected:
        _trust(path, actual)


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Checks every address of a chain of redirects, not only the last one."""

    def __init__(self, sha256: str | None) -> None:
        self.sha256 = sha256

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Checks the next address before it is requested."""
        _check_address(newurl, self.sha256)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        return request and _with_token(request)


def _open(url: str, sha256: str | None) -> http.client.HTTPResponse:
    request = _with_token(urllib.request.Request(url))
    return urllib.request.build_opener(_CheckedRedirects(sha256)).open(request, timeout=TIMEOUT_S)


def _with_token(request: urllib.request.Request) -> urllib.request.Request:
    """Adds the Hub's token to a request to the Hub; a redirect to another server loses it."""
    if _is_hub(request.full_url):
        from huggingface_hub import get_token  # HF_TOKEN, or that of `hf auth login`

        if token := get_token():
            request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _is_hub(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and parts.hostname == HUB_HOST


def _transfer(url: str, partial: Path, sha256: str | None) -> str:
    """Copies the address's content into a file and returns its sha256."""
    digest, size = hashlib.sha256(), 0
    try:
        with _open(url, sha256) as response, partial.open("wb") as file:
            expected = response.headers.get("Content-Length")
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code in REFUSED:
            raise _refused(url, error.code) from error
        raise _failed(url, str(error) or type(error).__name__) from error
    if expected is not None and str(size) != expected.strip():
        raise _failed(url, f"the connection ended after {size} of {expected} bytes")
    return digest.hexdigest()


def _refused(url: str, code: int) -> UserError:
    """Files whose terms must be accepted first, and those of other people."""
    if not _is_hub(url):
        return _failed(url, f"HTTP {code}: the server asks for a login")
    page = url.partition("/resolve/")[0]
    return UserError(
        f"Cannot download {url} (HTTP {code}): accept its terms on {page}, and give that account's "
        f"token with hf auth login or HF_TOKEN; or put the file by hand at {cache_path(url)}."
    )


def _failed(url: str, reason: str) -> UserError:
    return UserError(
        f"Cannot download {url} ({reason}): check the address and the network, or put the file by "
        f"hand at {cache_path(url)}."
    )
