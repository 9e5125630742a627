"""Annotations of any known format, recognised and read into COCO's form."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from convnext_dense.data.formats.content import ContentBuilder
from convnext_dense.data.formats.names import DETECTION_FORMATS
from convnext_dense.data.formats.request import Request
from convnext_dense.data.formats.splits import NoSplit
from convnext_dense.errors import UserError

__all__ = ["NoSplit", "ReadData", "is_known", "own_splits", "read", "recognise"]

SHOWN = 8  # names of what is in a folder
# The order of asking: formats that are told by a name of a file before those that open many.
ORDER = ("yolo", "voc", "cvat", "coco", "labelstudio", "labelme")


@dataclass(frozen=True)
class ReadData:
    """A split in COCO's form.

    Attributes:
        content: ``images`` with absolute ``file_name``, ``annotations`` and ``categories``. That
            of a COCO file is as the file has it, wrong entries included.
        format: Name of the format.
        remarks: What was assumed, changed or left out, a line each.
        own_splits: The splits that the path has; empty where it has none, and all of it was read.
        folder: The folder that a COCO file's images are relative to; None in other formats.
    """

    content: dict
    format: str
    remarks: list[str]
    own_splits: tuple[str, ...]
    folder: Path | None = None


def recognise(path: Path, split: str | None = None) -> str:
    """The format of a file or folder, out of ``DETECTION_FORMATS``.

    Args:
        path: The data.
        split: The split that is wanted, for the message.

    Raises:
        UserError: Says what was looked for and what was found.
    """
    _refuse_absent(path)
    if found := _fitting(path):
        return found
    looked_for = "; ".join(_reader(name).LOOKS_FOR for name in DETECTION_FORMATS)
    wanted = f" for {split}" if split else ""
    raise UserError(
        f"{path} is of no known format{wanted}: looked for {looked_for}; found {_found(path)}. "
        f"Name the format ({', '.join(DETECTION_FORMATS)}) with --data-format, which is --from of "
        "convnext-dense data, or the folder or file that holds the annotations."
    )


def is_known(path: Path) -> bool:
    """Whether a file or folder is in one of the formats."""
    return path.exists() and _fitting(path) is not None


def own_splits(path: Path, data_format: str | None = None) -> tuple[str, ...]:
    """The splits that a path has of its own: ``train``, ``val``, ``test``; often none.

    Raises:
        UserError: When its format is not recognised.
    """
    _refuse_absent(path)
    return _reader(data_format or recognise(path)).own_splits(path)


def read(
    path: Path,
    split: str,
    data_format: str | None = None,
    images: Path | None = None,
    classes: Sequence[str] | None = None,
) -> ReadData:
    """Reads a split of a dataset.

    Args:
        path: File or folder. One without splits of its own is read as a whole.
        split: ``train``, ``val`` or ``test``.
        data_format: Its format; None recognises it.
        images: Folder of the images, where they are not beside the annotations.
        classes: Class names that come first, in this order: those of the training data. A name
            beyond them is appended. A COCO file keeps its own categories.

    Raises:
        NoSplit: When the path is divided into splits and lacks this one.
        UserError: For what is not there, not recognised, or wrong.
    """
    _refuse_absent(path)
    name = data_format or recognise(path, split)
    reader = _reader(name)
    result = reader.read(Request(path, split, images, named=data_format is not None))
    own = reader.own_splits(path)
    if isinstance(result, ContentBuilder):
        return ReadData(result.content(classes), name, result.remarks.lines, own)
    content, folder = result
    return ReadData(content, name, [], own, folder)


def _fitting(path: Path) -> str | None:
    return next((name for name in ORDER if _reader(name).fits(path)), None)


def _reader(name: str) -> ModuleType:
    """The module of a format, with ``fits``, ``own_splits``, ``read`` and ``LOOKS_FOR``."""
    return import_module(f"convnext_dense.data.formats.readers.{name}")


def _refuse_absent(path: Path) -> None:
    if not path.exists():
        raise UserError(f"There is no file or folder {path}.")
    if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        raise UserError(f"{path} is an archive: unpack it, and name the folder.")


def _found(path: Path) -> str:
    if path.is_file():
        return f"a file {path.suffix or 'without an ending'}"
    names = sorted(inside.name + "/" * inside.is_dir() for inside in path.iterdir())
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
    return shown or "an empty folder"
