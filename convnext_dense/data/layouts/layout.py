"""What was found in a folder of label images: pairs of files, and what their values mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Pair = tuple[Path, Path]  # an image and its label image
Colour = tuple[int, int, int]  # red, green, blue
ALL = "all"  # the split of data that is not divided
SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Meaning:
    """What the values of label images mean.

    Attributes:
        classes: Class names in the order of the labels; None where nothing names them.
        values: Class of each value, None for a value that is ignored, where values are no indices.
        colours: Class of each colour, where label images are coloured.
        reduce_zero_label: Index 0 is ignored and the first class has index 1.
        source: Where this stands, for messages.
    """

    classes: tuple[str, ...] | None = None
    values: Mapping[int, str | None] | None = None
    colours: Mapping[Colour, str | None] | None = None
    reduce_zero_label: bool = False
    source: str = ""


@dataclass(frozen=True)
class Layout:
    """Data in a layout that was recognised.

    Attributes:
        name: Its name, out of ``--data-format``.
        splits: Pairs of each split, or of :data:`ALL`.
        meaning: Of the labels, as far as the layout itself says it.
        remarks: What is left out or chosen, a sentence each.
        folders: The folders that it was found in.
    """

    name: str
    splits: Mapping[str, Sequence[Pair]]
    meaning: Meaning = field(default_factory=Meaning)
    remarks: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


def child(folder: Path, *names: str) -> Path | None:
    """The first sub-folder of one of these names, in whatever case; None where there is none."""
    if not folder.is_dir():
        return None
    there = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def split_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders that are named as splits, by split."""
    found = {split: child(folder, *names) for split, names in SPLIT_NAMES.items()}
    return {split: path for split, path in found.items() if path is not None}
