"""Where labelled pictures lie: folders, tars of folders, WebDataset shards, Hugging Face datasets.

Every reader is one of timm's or has their interface: ``reader[index]`` is (open file, label),
``reader.filename(index, absolute=True)`` says which. All give random access, so that a run can
shuffle freely, count every picture once and resume where it stopped.
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from timm.data import ImageNetInfo, get_img_extensions
from timm.data.readers.reader import Reader

from convnext_dense.classification.shards import ShardReader
from convnext_dense.errors import MissingDataError, UserError

READERS = ("folder", "tar", "shards", "hf")
CLASS_FILE = "classes.txt"  # beside shards: one name a line, in the order of the labels
NAMED = ("imagenet-1k", "imagenet-22k")


def open_reader(
    kind: str, root: str, only: Sequence[str] | None = None
) -> tuple[Reader, tuple[str, ...] | None]:
    """Opens labelled pictures.

    Args:
        kind: ``folder``: ``root/<class>/*``; ``tar``: one tar a class, or one tar of such folders;
            ``shards``: WebDataset tars of ``<key>.jpg`` and ``<key>.cls``; ``hf``: a dataset that
            Hugging Face ``datasets`` saved, or a folder of its parquet files.
        root: The folder (or the tar).
        only: Classes outside of which pictures are left out; of ``folder`` and ``tar`` alone.

    Returns:
        The reader, and the names of its labels 0, 1, ...; None where the data has none.

    Raises:
        UserError: When there is nothing of that kind.
    """
    _check_root(kind, root)
    class_map = {name: label for label, name in enumerate(only)} if only else ""
    if kind == "folder":
        from timm.data.readers.reader_image_folder import ReaderImageFolder

        try:
            reader = ReaderImageFolder(root, class_map)
        except RuntimeError as error:
            raise UserError(f"{root} holds no pictures in class folders: {error}.") from error
        if set(reader.class_to_idx) != {""}:  # without any folders there is nothing to mistake
            _check_depth(root, [path for path, _ in reader.samples])
        return reader, tuple(reader.class_to_idx)
    if kind == "tar":
        from timm.data.readers.reader_image_in_tar import ReaderImageInTar

        try:
            reader = ReaderImageInTar(root, class_map)
        except (AssertionError, ValueError) as error:
            raise UserError(f"{root} holds no tars of pictures: {error}.") from error
        return reader, tuple(reader.class_name_to_idx)
    if kind == "shards":
        reader, names = ShardReader(root), _class_file(root)
        if names is not None and reader.num_labels > len(names):
            raise UserError(
                f"{root} holds the label {reader.num_labels - 1}, but {CLASS_FILE} there names "
                f"{len(names)} classes: label i is line i, counted from 0."
            )
        return reader, names
    reader = _hugging_face(root)
    return reader, reader.classes


def find_classes(kind: str, root: str) -> tuple[str, ...] | None:
    """The sorted class names of labelled pictures, without reading more than is needed.

    Raises:
        UserError: As :func:`open_reader`.
    """
    _check_root(kind, root)
    path = Path(root)
    if kind == "folder":
        folders = [f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")]
        if not folders:
            raise UserError(f"{root} holds no class folders: it needs one folder a class.")
        if empty := sorted(folder.name for folder in folders if not _holds_picture(folder)):
            raise UserError(
                f"{root}: {len(empty)} class folders hold no pictures, such as {empty[0]}: fill or "
                "remove them."
            )
        return tuple(sorted(folder.name for folder in folders))
    if kind == "tar" and path.is_dir():
        return tuple(sorted(tar.stem for tar in path.glob("*.tar")))
    if kind == "shards":
        return _class_file(root)
    return tuple(sorted(open_reader(kind, root)[1]))


def labels_of(reader: Reader) -> np.ndarray | None:
    """The reader's label of every picture; None where its kind does not keep them."""
    kept = vars(reader)
    if "index" in kept:  # shards
        return reader.index[:, 2]
    if "targets" in kept:  # tar
        return np.asarray(reader.targets)
    if "samples" in kept:  # folder
        return np.array([label for _, label in reader.samples])
    return None


def some_files(kind: str, root: str, count: int) -> list[str]:
    """One picture each of at most ``count`` class folders, for a look; [] of other readers.

    Of few classes some more, so that there are ``count`` where the folders hold so many. Folders
    alone: opening another reader may take long.
    """
    if kind != "folder":
        return []
    names = find_classes(kind, root)
    names = names[:: max(1, len(names) // count)][:count]
    kinds = get_img_extensions(as_set=True)
    found = []
    for name in names:
        files = (f for f in sorted(os.listdir(os.path.join(root, name))))
        pictures = [f for f in files if os.path.splitext(f)[1].lower() in kinds]
        step = max(1, len(pictures) // max(1, count // len(names)))
        found += [os.path.join(root, name, f) for f in pictures[::step][: -(-count // len(names))]]
    return found


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """Class names of a config: a list, or the name of one that timm carries.

    Raises:
        UserError: For an unknown name.
    """
    if not isinstance(classes, str):
        return tuple(classes)
    if classes not in NAMED:
        raise UserError(
            f"metainfo.classes must be a list or one of {', '.join(NAMED)}, got {classes!r}."
        )
    return tuple(ImageNetInfo(classes).label_names())


def _check_root(kind: str, root: str) -> None:
    if kind not in READERS:
        raise UserError(f"dataset.reader must be one of {', '.join(READERS)}, got {kind!r}.")
    path = Path(root)
    if path.is_file() and kind != "tar":
        raise UserError(f"{root} is a file: dataset.reader={kind!r} reads a folder.")
    if not path.exists():
        raise MissingDataError("folder", root)


def _holds_picture(folder: Path) -> bool:
    kinds = get_img_extensions(as_set=True)
    return any(file.suffix.lower() in kinds for file in folder.iterdir())


def _check_depth(root: str, paths: Sequence[str]) -> None:
    """timm's reader takes the innermost folder for the class; here it must be the only one."""
    depth = root.rstrip(os.sep).count(os.sep) + 2
    if stray := next((path for path in paths if path.count(os.sep) != depth), None):
        raise UserError(
            f"{stray} does not lie directly in a class folder of {root}: the layout is "
            "<class>/<picture>."
        )


def _class_file(root: str) -> tuple[str, ...] | None:
    path = Path(root) / CLASS_FILE
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _hugging_face(root: str) -> Reader:
    if importlib.util.find_spec("datasets") is None:
        raise UserError(
            f"Reading {root} needs Hugging Face datasets, which is not installed: run "
            "pip install datasets."
        )
    from convnext_dense.classification.hugging_face import HuggingFaceReader

    return HuggingFaceReader(root)
