"""Readers of labelled images: folders, tars, WebDataset shards, Hugging Face datasets.

Each reader is timm's or has the same interface: ``reader[index]`` returns (open file, label), and
``reader.filename(index, absolute=True)`` the file's name. All have random access, so that a run
can shuffle freely, count each image once and resume at any position.
"""

import importlib.util
import os
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from timm.data import ImageNetInfo, get_img_extensions
from timm.data.readers.reader import Reader

from convnext_dense.classification.list_reader import ListReader
from convnext_dense.classification.shards import ShardReader
from convnext_dense.errors import MissingDataError, UserError

READERS = ("folder", "tar", "shards", "hf", "list")
CLASS_FILE = "classes.txt"  # in a folder of shards: a class name a line, in the labels' order
TIMM_CLASS_LISTS = ("imagenet-1k", "imagenet-22k")


def open_reader(
    kind: str, root: str, only: Sequence[str] | None = None
) -> tuple[Reader, tuple[str, ...] | None]:
    """Opens a reader of labelled images.

    Args:
        kind: ``folder``: ``root/<class>/*``; ``tar``: a tar for each class, or one tar of class
            folders; ``shards``: WebDataset tars of ``<key>.jpg`` and ``<key>.cls``; ``hf``: a
            dataset that Hugging Face ``datasets`` saved, or a folder of its parquet files;
            ``list``: a csv file of images and their classes.
        root: The folder (or the tar, or the csv file).
        only: Classes to read; others are left out (``folder`` and ``tar`` only).

    Returns:
        The reader, and the names of its labels 0, 1, ...; None if the data has no names.

    Raises:
        UserError: If ``root`` contains no data of that kind.
    """
    _check_root(kind, root)
    class_map = {name: label for label, name in enumerate(only)} if only else ""
    if kind == "folder":
        from timm.data.readers.reader_image_folder import ReaderImageFolder

        try:
            reader = ReaderImageFolder(root, class_map)
        except RuntimeError as error:
            raise UserError(f"{root} contains no images in class folders: {error}.") from error
        if set(reader.class_to_idx) != {""}:  # otherwise there are no class folders at all
            _check_depth(root, [path for path, _ in reader.samples])
        return reader, tuple(reader.class_to_idx)
    if kind == "tar":
        from timm.data.readers import reader_image_in_tar as timm_tar

        # timm stores the index of large tars as a pickle; only newer versions read it safely.
        cache = None if hasattr(timm_tar, "_TarInfoUnpickler") else False
        try:
            reader = timm_tar.ReaderImageInTar(root, class_map, cache_tarinfo=cache)
        except (AssertionError, ValueError, tarfile.TarError, pickle.UnpicklingError) as error:
            raise UserError(f"{root} contains no tars of images: {error}.") from error
        return reader, tuple(reader.class_name_to_idx)
    if kind == "shards":
        reader, names = ShardReader(root), _read_class_file(root)
        if names is not None and reader.num_labels > len(names):
            raise UserError(
                f"{root} holds the label {reader.num_labels - 1}, but its {CLASS_FILE} names "
                f"{len(names)} classes: line i must be the name of label i, counted from 0."
            )
        return reader, names
    reader = ListReader(root) if kind == "list" else _open_hugging_face(root)
    return reader, reader.classes


def find_classes(kind: str, root: str) -> tuple[str, ...] | None:
    """The sorted class names of labelled images, found without reading the images.

    Raises:
        UserError: As :func:`open_reader`.
    """
    _check_root(kind, root)
    path = Path(root)
    if kind == "folder":
        folders = [
            entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        ]
        if not folders:
            raise UserError(f"{root} contains no class folders: it needs a folder for each class.")
        if empty := sorted(folder.name for folder in folders if not _contains_image(folder)):
            raise UserError(
                f"{root}: {len(empty)} class folders contain no images, such as {empty[0]}: "
                "fill or remove them."
            )
        return tuple(sorted(folder.name for folder in folders))
    if kind == "tar" and path.is_dir():
        return tuple(sorted(tar.stem for tar in path.glob("*.tar")))
    if kind == "shards":
        return _read_class_file(root)
    return tuple(sorted(open_reader(kind, root)[1]))


def labels_of(reader: Reader) -> np.ndarray | None:
    """The reader's label of each image; None for readers that do not store them."""
    attributes = vars(reader)
    if "index" in attributes:  # shards
        return reader.index[:, 2]
    if "targets" in attributes:  # tar
        return np.asarray(reader.targets)
    if "samples" in attributes:  # folder
        return np.array([label for _, label in reader.samples])
    return None


def some_files(kind: str, root: str, count: int) -> list[str]:
    """About ``count`` image files, spread over the class folders, for a quick check.

    Only for ``folder`` and ``list``; for the other readers it returns [], since opening them may
    take long.
    """
    if kind == "list":
        paths = [path for path, _ in ListReader(root).samples]
        return paths[:: max(1, len(paths) // count)][:count]
    if kind != "folder":
        return []
    names = find_classes(kind, root)
    names = names[:: max(1, len(names) // count)][:count]
    extensions = get_img_extensions(as_set=True)
    paths = []
    for name in names:
        files = sorted(os.listdir(os.path.join(root, name)))
        images = [file for file in files if os.path.splitext(file)[1].lower() in extensions]
        step = max(1, len(images) // max(1, count // len(names)))
        selected = images[::step][: -(-count // len(names))]
        paths += [os.path.join(root, name, file) for file in selected]
    return paths


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """Class names of a config: a list, or the name of a list that timm contains.

    Raises:
        UserError: For an unknown name.
    """
    if not isinstance(classes, str):
        return tuple(classes)
    if classes not in TIMM_CLASS_LISTS:
        raise UserError(
            f"metainfo.classes must be a list or one of {', '.join(TIMM_CLASS_LISTS)}, got "
            f"{classes!r}."
        )
    return tuple(ImageNetInfo(classes).label_names())


def _check_root(kind: str, root: str) -> None:
    if kind not in READERS:
        raise UserError(f"dataset.reader must be one of {', '.join(READERS)}, got {kind!r}.")
    path = Path(root)
    if path.is_file() and kind not in ("tar", "list"):
        raise UserError(f"{root} is a file: dataset.reader={kind!r} reads a folder.")
    if not path.exists():
        raise MissingDataError("folder", root)


def _contains_image(folder: Path) -> bool:
    extensions = get_img_extensions(as_set=True)
    return any(file.suffix.lower() in extensions for file in folder.iterdir())


def _check_depth(root: str, paths: Sequence[str]) -> None:
    """timm takes the innermost folder as the class; here it must be directly in ``root``."""
    depth = root.rstrip(os.sep).count(os.sep) + 2
    if stray := next((path for path in paths if path.count(os.sep) != depth), None):
        raise UserError(
            f"{stray} is not directly in a class folder of {root}: the layout must be "
            "<class>/<image>."
        )


def _read_class_file(root: str) -> tuple[str, ...] | None:
    path = Path(root) / CLASS_FILE
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _open_hugging_face(root: str) -> Reader:
    if importlib.util.find_spec("datasets") is None:
        raise UserError(
            f"Reading {root} needs Hugging Face datasets, which is not installed: run "
            "pip install datasets."
        )
    from convnext_dense.classification.hugging_face import HuggingFaceReader

    return HuggingFaceReader(root)
