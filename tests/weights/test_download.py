"""Downloads from a local server: the cache, the hashes, and all errors."""

import hashlib
import io
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_convnext import backbone, official

from convnext_dense import download
from convnext_dense.errors import UserError
from convnext_dense.models.trunk import VARIANTS
from convnext_dense.runs.starting_weights import choose_weights
from convnext_dense.weights import ZOO, load_pretrained, local_file, read_checkpoint, zoo


def file_bytes(seed: int = 1) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": official(seed=seed)}, buffer)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        server.tokens.append(self.headers.get("Authorization"))
        if self.path == "/gated.pth" and server.tokens[-1] != "Bearer hf_right":
            self.send_error(403 if server.tokens[-1] else 401)
            return
        if self.path == "/redirect.pth":
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + server.promised_too_much))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this machine, and an empty cache."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files = {"/a.pth": file_bytes()}
    server.requests, server.promised_too_much, server.redirect = [], 0, ""
    server.tokens = []
    server.url = f"http://127.0.0.1:{server.server_port}/a.pth"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_in_cache(tmp_path: Path) -> list[str]:
    """The names in the cache, without the locks."""
    folder = tmp_path / "home" / "hub" / "convnext_dense"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_downloaded_once_into_the_cache(server, tmp_path):
    content = server.files["/a.pth"]
    model = backbone()
    report = load_pretrained(model, server.url, sha256=sha256(content).upper())
    assert report.share == 1.0
    path = download.cache_path(server.url)
    assert files_in_cache(tmp_path) == [path.name]
    assert path.read_bytes() == content
    read_checkpoint(server.url)
    assert server.requests == ["/a.pth"]


def test_equal_names_of_different_addresses_do_not_mix(server):
    server.files["/other/a.pth"] = file_bytes(seed=2)
    read_checkpoint(server.url)
    other = read_checkpoint(server.url.replace("/a.pth", "/other/a.pth"))
    assert torch.equal(other["model"]["head.bias"], official(seed=2)["head.bias"])


def test_a_wrong_hash_is_refused_and_the_file_removed(server, tmp_path):
    with pytest.raises(UserError, match=f"has the sha256 {sha256(server.files['/a.pth'])}, not"):
        read_checkpoint(server.url, sha256="1" * 64)
    assert files_in_cache(tmp_path) == []
    read_checkpoint(server.url)
    with pytest.raises(UserError, match="the file was removed"):
        read_checkpoint(server.url, sha256="1" * 64)
    assert files_in_cache(tmp_path) == []


def test_trust_on_first_use(server, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(download, "say", logged.append)
    actual = sha256(server.files["/a.pth"])
    read_checkpoint(server.url)
    assert any(actual in text for text in logged)
    path = download.cache_path(server.url)
    record = path.with_name(f"{path.name}.sha256")
    assert record.read_text().strip() == actual

    path.write_bytes(file_bytes(seed=2))  # someone changed the cached file
    with pytest.raises(UserError, match="has changed since it was first used"):
        read_checkpoint(server.url)
    assert not path.exists()
    server.files["/a.pth"] = file_bytes(seed=2)  # and the server has another one now
    with pytest.raises(UserError, match=f"not the expected {actual}"):
        read_checkpoint(server.url)
    assert files_in_cache(tmp_path) == [record.name]
    record.unlink()
    read_checkpoint(server.url)


def test_a_file_put_there_by_hand(server):
    path = download.cache_path(server.url)
    path.parent.mkdir(parents=True)
    path.write_bytes(file_bytes(seed=2))
    read_checkpoint(server.url)
    assert server.requests == []


@pytest.mark.parametrize("fault", ["404", "short", "refused", "redirect"])
def test_failures_are_one_sentence_and_leave_nothing(server, tmp_path, fault):
    url = server.url
    if fault == "404":
        url = url.replace("a.pth", "nothing.pth")
    elif fault == "short":
        server.promised_too_much = 7
    elif fault == "refused":
        server.shutdown()
        server.server_close()
    else:
        url, server.redirect = url.replace("a.pth", "redirect.pth"), "http://127.0.0.1:1/a.pth"
    with pytest.raises(UserError) as error:
        read_checkpoint(url)
    message = str(error.value)
    assert url in message and str(download.cache_path(url)) in message and "by hand" in message
    assert "\n" not in message
    assert files_in_cache(tmp_path) == []


def test_a_silent_server_times_out(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(Handler, "do_GET", lambda self: threading.Event().wait(0.6))
    with pytest.raises(UserError, match="timed out"):
        read_checkpoint(server.url)


@pytest.mark.parametrize("url", ["http://example.org/a.pth", "http://127.0.0.1.example.org/a.pth"])
def test_plain_http_needs_a_hash(url, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    opened = []
    monkeypatch.setattr(download, "_open", lambda *a, **k: opened.append(a))
    with pytest.raises(UserError, match="Use https"):
        read_checkpoint(url)
    assert opened == []
    # The replaced function was called, so the address is allowed; its result is no context manager.
    with pytest.raises((TypeError, AttributeError)):
        read_checkpoint(url, sha256="1" * 64)
    assert len(opened) == 1


@pytest.mark.parametrize("address", ["http://example.org/a.pth", "ftp://example.org/a.pth"])
def test_a_redirect_may_not_leave_https(server, tmp_path, address):
    """Also in the middle of a chain: the next address is not requested."""
    server.redirect = address
    with pytest.raises(UserError, match="example.org.*Use https"):
        read_checkpoint(server.url.replace("a.pth", "redirect.pth"))
    assert files_in_cache(tmp_path) == []


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://example.org/a.pth"])
def test_other_addresses_are_no_files(address):
    with pytest.raises(UserError, match="does not exist: give a file, an https address"):
        read_checkpoint(address)


def test_processes_wait_for_one_another(server):
    threads = [threading.Thread(target=read_checkpoint, args=(server.url,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.requests == ["/a.pth"]


class TestTheHub:
    """Files of huggingface.co, which get the user's token; the server here plays that host."""

    @pytest.fixture(autouse=True)
    def hub(self, server, monkeypatch):
        server.files["/gated.pth"] = file_bytes()
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        monkeypatch.setattr(
            download, "_is_hub", lambda url: f"127.0.0.1:{server.server_port}" in url
        )

    def test_a_token_opens_a_gated_file(self, server):
        assert "model" in read_checkpoint(server.url.replace("a.pth", "gated.pth"))
        assert server.tokens == ["Bearer hf_right"]

    @pytest.mark.parametrize(("token", "code"), [("", 401), ("hf_wrong", 403)])
    def test_a_refusal_names_the_page_and_the_token(
        self, server, monkeypatch, token, code, tmp_path
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr("huggingface_hub.get_token", lambda: token or None)
        page = f"http://127.0.0.1:{server.server_port}/gated.pth"
        with pytest.raises(UserError) as error:
            read_checkpoint(page)
        message = str(error.value)
        assert f"(HTTP {code})" in message and f"accept its terms on {page}" in message
        assert "HF_TOKEN" in message and str(download.cache_path(page)) in message
        assert "\n" not in message and files_in_cache(tmp_path) == []

    def test_redirects_keep_the_token_on_the_hub_and_lose_it_elsewhere(self, server):
        host = f"http://localhost:{server.server_port}"  # another name is another host
        for target, token in ((server.url, "Bearer hf_right"), (f"{host}/a.pth", None)):
            server.tokens.clear()
            server.redirect = target
            redirect = server.url.replace("a.pth", "redirect.pth")
            download.read_bytes(redirect)
            assert server.tokens == ["Bearer hf_right", token]


def test_only_https_of_the_hub_gets_the_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    for url, gets in (
        ("https://huggingface.co/a/b", True),
        ("http://huggingface.co/a/b", False),
        ("https://huggingface.co.example.org/a", False),
        ("https://example.org/huggingface.co", False),
    ):
        request = download._with_token(download.urllib.request.Request(url))
        assert request.has_header("Authorization") == gets, url


class TestZoo:
    def test_every_entry_is_well_formed(self):
        for name, file in ZOO.items():
            assert file.sha256 is None or len(file.sha256) == 64
            assert file.url.startswith((f"{zoo.SERVER}/", f"{zoo.HUB}/"))
            assert zoo.find_file(name) is zoo.find_file(file.url) is file
        assert len({file.url for file in ZOO.values()}) == len(ZOO) == 41 + 26 + 4 + 4 + 20
        for name in (
            "tiny_1k_224",
            "small_1k_224",
            "base_1k_224",
            "large_1k_224",
            "base_22k_224",
            "large_22k_224",
            "xlarge_22k_224",
            "tiny_1k_224_ema",
        ):
            url = f"https://dl.fbaipublicfiles.com/convnext/convnext_{name}.pth"
            assert ZOO[f"convnext_{name}"] == zoo.ZooFile(url, "MIT")

    def test_entries_are_timms(self):
        """timm knows licence, normalisation and address of all of them but DINOv3's own."""
        configs = pytest.importorskip("timm").models.convnext.default_cfgs
        theirs = {
            f"{arch}.{tag}": cfg
            for arch, of_arch in configs.items()
            for tag, cfg in of_arch.cfgs.items()
        }
        by_url = {cfg.url: cfg for cfg in theirs.values() if cfg.url}
        compared = 0
        for name, file in ZOO.items():
            cfg = theirs.get(name.removeprefix("timm/")) or by_url.get(file.url)
            if cfg is None:
                continue
            compared += 1
            mean, std = ([255 * x for x in numbers] for numbers in (cfg.mean, cfg.std))
            assert mean == pytest.approx(file.normalisation.mean)
            assert std == pytest.approx(file.normalisation.std)
            if not name.startswith("convnext_"):  # Meta's own, MIT; timm states Apache-2.0
                assert file.licence.lower().replace(" ", "-") == cfg.license
            if name.startswith("timm/"):
                assert (cfg.hf_hub_id, file.url) == (
                    "timm/",
                    f"{zoo.HUB}/{name}/resolve/main/model.safetensors",
                )
        assert compared == 19 + 26 + 4 + 20
        families = (
            "convnext_base.clip",
            "convnext_large_mlp.clip",
            "convnext_tiny.dino",
            "convnext_small.dino",
            "convnext_base.dino",
            "convnext_large.dino",
        )
        assert {n for n in theirs if n.startswith(families)} == {
            n.removeprefix("timm/") for n in ZOO if n.startswith("timm/")
        }

    @pytest.mark.parametrize("name", ["convnextv2_huge_1k_224_fcmae", "dinov3_convnext_tiny"])
    def test_a_name_is_downloaded_from_its_address(self, name, monkeypatch):
        asked = []
        monkeypatch.setattr("convnext_dense.weights.reading.fetch", lambda *a: asked.append(a))
        local_file(name)
        assert asked == [(ZOO[name].url, None)]

    @pytest.mark.parametrize("by_name", [True, False])
    def test_a_published_hash_is_checked(self, server, monkeypatch, by_name):
        monkeypatch.setitem(zoo.ZOO, "some", zoo.ZooFile(server.url, "MIT", "1" * 64))
        with pytest.raises(UserError, match="not the expected 1111"):
            read_checkpoint("some" if by_name else server.url)
        right = sha256(server.files["/a.pth"])
        monkeypatch.setitem(zoo.ZOO, "some", zoo.ZooFile(server.url, "MIT", right))
        assert "model" in read_checkpoint("some" if by_name else server.url)

    def test_names_tell_size_and_blocks(self):
        sizes = {name: (file.blocks, file.size) for name, file in ZOO.items()}
        assert {size for _, size in sizes.values()} <= set(VARIANTS)
        for name, expected in {
            "convnext_xlarge_22k_1k_224_ema": ("V1", "xlarge"),
            "coco/mask_rcnn_convnext_tiny_1k_3x": ("V1", "tiny"),
            "convnext_iso_small_1k_224_ema": ("isotropic", "small"),
            "convnextv2_nano_22k_224_ema": ("V2", "nano"),
            "dinov3_convnext_base": ("V1", "base"),
            "timm/convnext_large_mlp.clip_laion2b_ft_320": ("V1", "large"),
        }.items():
            assert sizes[name] == expected

    @pytest.mark.parametrize(
        ("name", "backbone", "reason"),
        [
            ("convnext_base_22k_224", {}, "is a ConvNeXt base, and the backbone is tiny"),
            ("convnextv2_tiny_1k_224_ema", {}, "blocks of V2.*V1.*add .*use_grn=True"),
            ("convnext_tiny_1k_224", dict(use_grn=True), "blocks of V1.*V2.*use_grn=False"),
            ("convnext_iso_small_1k_224_ema", dict(arch="small"), "isotropic ConvNeXt"),
        ],
    )
    @pytest.mark.parametrize("by_flag", [True, False])
    def test_another_network_is_refused_before_the_download(
        self, name, backbone, reason, by_flag, monkeypatch
    ):
        monkeypatch.setattr("convnext_dense.weights.reading.fetch", lambda *a: pytest.fail("asked"))
        backbone = dict(backbone, type="ConvNeXt")
        if not by_flag:  # the recipe's file, and another backbone by --cfg-options
            backbone["init_cfg"] = dict(type="Pretrained", checkpoint=name)
        cfg = Config(dict(model=dict(backbone=backbone), work_dir="."))
        with pytest.raises(UserError, match=reason):
            choose_weights(cfg, backbone_weights=name if by_flag else None)

    @pytest.mark.parametrize("name", ["dinov3_convnext_tiny", "timm/convnext_tiny.dinov3_lvd1689m"])
    def test_a_gated_file_out_of_reach_says_so(self, name, monkeypatch):
        def fail(*_):
            raise UserError("Cannot download it (no network).")

        monkeypatch.setattr("convnext_dense.weights.reading.fetch", fail)
        with pytest.raises(UserError) as error:
            local_file(name)
        gated = "accepted its licence (DINOv3 License): docs/weights.md" in str(error.value)
        assert gated == name.startswith("dinov3")

    def test_the_page_lists_every_name_with_its_licence(self):
        page = (Path(__file__).parents[2] / "docs/weights.md").read_text()
        names = set(page.partition("## All names")[2].split())
        assert {n for n in ZOO if not n.startswith(("coco/", "ade20k/"))} == names & set(ZOO)
        assert {file.licence for file in ZOO.values()} <= set(
            re.findall(r"(?<=\| )[A-Z][A-Za-z0-9.-]+(?: License)?(?=[ :])", page)
        )
        for name in ("mean", "std"):
            printed = re.search(rf"preprocessor\.{name}=\[(.*?)\]", page)[1]
            numbers = [float(number) for number in printed.split(",")]
            assert numbers == pytest.approx(getattr(zoo.CLIP, name), abs=1e-3)
