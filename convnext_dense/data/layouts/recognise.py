"""Which layout a folder has."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.layouts.known.plain import plain
from convnext_dense.data.layouts.known.public import (
    ade20k,
    cityscapes,
    cityscapes_of,
    coco_stuff,
    loveda,
    mapillary,
)
from convnext_dense.data.layouts.known.voc import voc
from convnext_dense.data.layouts.layout import ALL, Layout
from convnext_dense.data.layouts.pairing import pair_folders
from convnext_dense.errors import UserError

# From the most particular to the most general: the first that fits is taken.
LAYOUTS: dict[str, Callable[[Path, bool], Layout | None]] = {
    "cityscapes": cityscapes,
    "mapillary": mapillary,
    "loveda": loveda,
    "ade20k": ade20k,
    "voc": voc,
    "coco-stuff": coco_stuff,
    "folders": plain,
}
DEPTH = 2  # folders that hold nothing but one folder, as archives do
SHOWN = 8


class UnknownLayout(UserError):
    """A folder has none of the layouts."""


def recognise(root: Path, data_format: str | None = None, partial: bool = False) -> Layout:
    """The layout of a folder.

    Args:
        root: The folder; where it holds one folder alone, that one.
        data_format: Name of the layout; None recognises it.
        partial: A list names what is used: images without a label do not matter.

    Raises:
        UnknownLayout: Where none fits, with what was looked for and what is there.
        UserError: Where files of the one that fits are missing.
    """
    wanted = LAYOUTS if data_format is None else {data_format: LAYOUTS[data_format]}
    folder = root
    for _ in range(DEPTH + 1):
        for find in wanted.values():
            if (found := find(folder, partial)) is not None:
                return replace(found, folders=(folder,))
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    raise UnknownLayout(
        f"{root} has no layout of images and label images that is known"
        f"{f' as {data_format}' if data_format else ''}. Looked for: images/ with labels/, masks/ "
        "or annotations/ (with train/ and val/ in them, or the other way round), a folder of a.jpg "
        "and a_mask.png, Cityscapes' leftImg8bit/ and gtFine/, VOC's JPEGImages/ and "
        "SegmentationClass/, Mapillary's training/ with config.json, LoveDA's Train/Urban/, "
        f"COCO-stuff's stuffthingmaps/; found: {_inside(root)}. Name the folders with --images and "
        "--labels."
    )


def recognise_folders(
    images: Path, labels: Path, suffix: str | None = None, partial: bool = False
) -> Layout:
    """The layout of a folder of images and one of labels that the user names.

    Raises:
        UserError: For images without a label, or several labels for each.
    """
    found = cityscapes_of({ALL: (images, labels)}, partial) if suffix is None else None
    if found is None:
        found = Layout("folders", {ALL: pair_folders(images, labels, suffix, partial)})
    return replace(found, folders=(images, labels))


def _inside(root: Path) -> str:
    """What a folder holds, in a line."""
    paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    shown = [f"{path.name}/" if path.is_dir() else path.name for path in paths[:SHOWN]]
    images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    more = f" ... ({len(paths)} entries, {images} images)" if len(paths) > SHOWN else ""
    return ", ".join(shown) + more if shown else "nothing"
