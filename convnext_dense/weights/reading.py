"""Reading checkpoints of any age without executing code from them.

``read_checkpoint`` reads files, web addresses and official files by name. ``register_safe_loader``
replaces mmengine's loaders by it, so that resuming, testing and pretrained weights use it too.
"""

import difflib
import json
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from convnext_dense.download import check_form, fetch, file_sha256
from convnext_dense.errors import UserError
from convnext_dense.weights.safe_pickle import RefusedGlobalError, only_plain_data
from convnext_dense.weights.zoo import ZOO, find_file

META = "convnext_dense"  # in the header of a .safetensors file
WEB_SCHEMES = ("http://", "https://")


def read_checkpoint(
    source: str | Path, *, sha256: str | None = None, map_location: Any = "cpu"
) -> dict[str, Any]:
    """Reads a checkpoint without executing code from it.

    Args:
        source: A file (.pth, .pt or any other ending that torch.save wrote; .safetensors), an
            https address, or a name of zoo.py, such as ``convnext_tiny_1k_224``.
        sha256: The hash that the file must have. A download with another one is removed.
        map_location: Where tensors go, as for ``torch.load``.

    Returns:
        The file's content: a state dict, or a training checkpoint that contains one.

    Raises:
        UserError: When there is no such file, it is damaged, has another hash, holds no dict, or
            is a pickle that needs more than plain data; the message names the forbidden object.
    """
    path = local_file(source, sha256)
    if path.suffix == ".safetensors":
        content = _read_safetensors(path, map_location)
    else:
        content = _read_pickle(path, map_location)
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise UserError(f"{path} holds a {kind}, not a checkpoint: a dict of parameters is needed.")
    return content


def register_safe_loader() -> None:
    """Makes mmengine read files and web addresses through :func:`read_checkpoint`.

    Runner's resume and load_from, mmdet's and mmsegmentation's ``init_detector`` and
    ``init_model`` then work with torch >= 2.6, safely. Calling it again changes nothing.
    """
    # Here, since models read checkpoints too, and must not import mmengine's runner.
    from mmengine.runner.checkpoint import CheckpointLoader

    CheckpointLoader.register_scheme("", load_from_local, force=True)
    CheckpointLoader.register_scheme(WEB_SCHEMES, load_from_http, force=True)


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader of local files; it also takes the names of official files."""
    return read_checkpoint(filename, map_location=map_location)


def load_from_http(filename: str, map_location: Any = None) -> dict[str, Any]:
    """mmengine's loader of web addresses."""
    return read_checkpoint(filename, map_location=map_location)


def is_elsewhere(source: str) -> bool:
    """Whether a source is an address or the name of an official file, rather than a path."""
    return source in ZOO or "://" in source


def local_file(source: str | Path, sha256: str | None = None) -> Path:
    """The file behind a path, an address or an official name; downloads it on first use.

    Raises:
        UserError: When there is none, it cannot be downloaded, or it has another hash.
    """
    source, sha256 = str(source), check_form(sha256)
    path, known = Path(source).expanduser(), find_file(source)
    if known and not path.exists():
        try:
            return fetch(known.url, sha256 or known.sha256)
        except UserError as error:
            if not known.gated:
                raise
            raise UserError(
                f"{error} The file is given out to those alone who accepted its licence "
                f"({known.licence}): docs/weights.md has the steps."
            ) from error
    if source.startswith(WEB_SCHEMES):
        return fetch(source, sha256)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        names = [next(iter(ZOO))]
        if not path.suffix:  # meant as a name
            names = difflib.get_close_matches(source, ZOO, n=3, cutoff=0)
        raise UserError(
            f"The checkpoint {source} {problem}: give a file, an https address or the name of an "
            f"official file, such as {', '.join(names)}."
        )
    if sha256 and (actual := file_sha256(path)) != sha256:
        raise UserError(f"{path} has the sha256 {actual}, not the expected {sha256}.")
    return path


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    """The tensors; where this project wrote the file, a checkpoint of ``state_dict`` and ``meta``.

    Its header has the meta as JSON, which is data.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        state = load_file(path, device=str(map_location or "cpu"))
        meta = json.loads(header[META]) if META in header else None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if meta is None:
        return state
    if not isinstance(meta, dict):
        raise _damaged(path, ValueError(f"{META} in its header is no dict"))
    return {"state_dict": state, "meta": meta}


def format_meta(meta: Mapping[str, Any]) -> str:
    """A checkpoint's meta as the header of a .safetensors file has it."""
    return json.dumps(meta, ensure_ascii=False)


def _read_pickle(path: Path, map_location: Any) -> Any:
    try:
        with only_plain_data():
            return torch.load(path, map_location=map_location, weights_only=True)
    except RefusedGlobalError as error:
        raise _refused(path, str(error)) from error
    # A hostile or broken file can make the unpickler raise any exception.
    except Exception as error:
        forbidden = re.search(r"GLOBAL (\S+?)(?: was| whose|\. |$)", str(error))
        if forbidden:
            raise _refused(path, forbidden[1]) from error
        if names := _names_of_new_protocol(path):
            raise UserError(
                f"{path} is not loaded: it was pickled with protocol 4 or newer, which the safe "
                f"reader does not take, and names {', '.join(names)}. Its author can save it again "
                "with torch.save's default protocol, or as .safetensors."
            ) from error
        raise _damaged(path, error) from error


def _refused(path: Path, forbidden: str) -> UserError:
    return UserError(
        f"{path} is not loaded: its pickle needs {forbidden}, which is more than parameters and "
        "numbers and could run code. Ask its author for the plain weights (.safetensors, or "
        "torch.save of a state dict)."
    )


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return UserError(
        f"{path} ({path.stat().st_size} bytes) is damaged or no checkpoint: download or copy it "
        f"again ({reason})."
    )


def _names_of_new_protocol(path: Path) -> list[str]:
    """Objects that a pickle of protocol 4 or 5 names, where torch's reader gives no names."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                with archive.open(inner) as stream:
                    return _names_in(stream)
        with path.open("rb") as stream:
            return _names_in(stream)
    except (ValueError, StopIteration, IndexError, UnicodeDecodeError, zipfile.BadZipFile):
        return []  # not a pickle: the caller raises the error


def _names_in(stream: IO[bytes]) -> list[str]:
    """The module.name pairs in a pickle of protocol 4 or newer, without unpickling it."""
    names, texts, memo = set(), [], {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "PROTO" and argument < 4:
            return []
        if opcode.name == "STACK_GLOBAL":
            names.add(".".join(texts[-2:]))
        elif "UNICODE" in opcode.name:
            texts.append(argument)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = texts[-1] if texts else ""
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            texts.append(memo.get(argument, ""))
    return sorted(names)
