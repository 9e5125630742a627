"""A classifier's own data as its dataset reads it: a csv file for each split."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convnext_dense.atomic_files import wait_for, write_once
from convnext_dense.data.class_folders.labels import (
    match_labels,
    name_labels,
    refuse_lacking,
    remark_equal_folders,
)
from convnext_dense.data.class_folders.layouts import (
    TABLES,
    Labelled,
    hidden_folders,
    read_class_names,
    read_labelled,
)
from convnext_dense.data.formats.image_files import list_images
from convnext_dense.data.formats.splits import split_folders
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.data.own.split_file import SPLIT_FILE, refuse_own_split, settle_split
from convnext_dense.data.own.splitting import remark_split
from convnext_dense.errors import UserError

SHOWN = 5  # names in a sentence
COLUMNS = ("file_name", "label")


def prepare_classification(own_data: OwnData) -> OwnData:
    """Writes a csv of images and classes for each split into ``own_data.folder``.

    The first process writes; the others wait for it.

    Args:
        own_data: The data that the flags name: class folders, or images with a table.

    Returns:
        The same with a folder of images and a csv for each of its splits.

    Raises:
        UserError: For data without classes, and where there is nothing to validate on.
    """
    if own_data.folder is None:
        raise UserError("--train-data and --val-data need a folder to write to.")
    _, source = own_data.sources["train"]
    parts = {} if source.is_file() else split_folders(source, _holds_images)
    if own_data.val_share is not None and {"train", "val"} <= parts.keys():
        refuse_own_split(source)
    train = _read(own_data, parts.get("train", source), "train")
    if own_data.val_share is not None:
        train, val = _divide(own_data, train, parts.get("train", source))
    else:
        val = _read_validation(own_data, _validation(own_data, source, parts), train)
    written = {
        name: _write(own_data, name, images) for name, images in (("train", train), ("val", val))
    }
    sources = {split: written["train" if split == "train" else "val"] for split in own_data.splits}
    return replace(own_data, sources=sources)


def _validation(own_data: OwnData, source: Path, parts: dict[str, Path]) -> Path:
    """The validation data: named, or the folder ``val`` or ``test`` beside that of training."""
    if "val" in own_data.sources:
        return own_data.sources["val"][1]
    for split in ("val", "test"):
        if "train" in parts and split in parts:
            return parts[split]
    raise UserError(
        f"{source} has no folders train/ and val/ (or test/): name the validation data with "
        "--val-data, or take a share of the training data by --split 0.2."
    )


def _holds_images(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TABLES) or bool(list_images(folder))


def _read(own_data: OwnData, path: Path, split: str) -> list[Labelled]:
    images = read_labelled(path, own_data.lists.get(split))
    if hidden := hidden_folders(path):
        _say(own_data, path, f"hidden folders are left out: {', '.join(hidden)}")
    if own_data.classes:
        classes = read_class_names(own_data.classes)
        images = name_labels(images, classes, path)
        if split == "train":
            refuse_lacking(images, classes, path)
    elif split == "train":
        _say(own_data, path, remark_equal_folders(label for _, label in images))
    return images


def _say(own_data: OwnData, source: Path, remark: str) -> None:
    if remark and own_data.is_first:
        print(f"{source}: {remark}")


def _read_validation(
    own_data: OwnData, path: Path, train: Sequence[Labelled]
) -> Sequence[Labelled]:
    """The validation images, with the training data's names of the classes."""
    source = own_data.lists.get("val", path)
    trained = {image.label for image in train}
    images, renamed = match_labels(_read(own_data, path, "val"), trained, source)
    if renamed:
        pairs = ", ".join(f"{label} as {name}" for label, name in [*renamed.items()][:SHOWN])
        more = " ..." if len(renamed) > SHOWN else ""
        remark = f"classes are taken by the last part of their names: {pairs}{more}."
        _say(own_data, source, remark)
    return images


def _divide(
    own_data: OwnData, images: Sequence[Labelled], root: Path
) -> tuple[list[Labelled], list[Labelled]]:
    """Training and validation side of the training data."""
    root = root.parent if root.is_file() else root
    by_name = {Path(os.path.relpath(image.path, root)).as_posix(): image for image in images}
    names, labels = list(by_name), [{image.label} for image in by_name.values()]
    path = own_data.folder / SPLIT_FILE
    sides = settle_split(
        path, names, labels, own_data.val_share, own_data.seed, own_data.group_by,
        own_data.resume, own_data.is_first,
    )  # fmt: skip
    if own_data.is_first:
        counts = " for training and ".join(f"{len(side):,} images" for side in sides)
        print(f"--split {own_data.val_share:g}: {counts} for validation, written down in {path}")
        print("".join(f"{remark}\n" for remark in remark_split(names, labels, sides[1])), end="")
    train, val = ([by_name[name] for name in side] for side in sides)
    return train, val


def _write(own_data: OwnData, split: str, images: Sequence[Labelled]) -> tuple[Path, Path]:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((os.path.abspath(path), label) for path, label in images)
    path = own_data.folder / f"{split}.csv"
    (write_once if own_data.is_first else wait_for)(path, text.getvalue())
    return own_data.folder, path
