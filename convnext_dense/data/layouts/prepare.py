"""Own label images in whatever layout: their pairs are found, divided and written down.

Folders that mmsegmentation's dataset reads as they are stay as they are. For all others a file of
pairs is written into the work folder, which names every image and its label.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from convnext_dense.data.labels.folders import image_suffix, label_suffix, list_files
from convnext_dense.data.labels.own_labels import find_beside
from convnext_dense.data.layouts.divide import divide
from convnext_dense.data.layouts.layout import Layout, Meaning, Pair
from convnext_dense.data.layouts.meaning import FILES, near_folders, settle_meaning
from convnext_dense.data.layouts.pairing import unused_labels
from convnext_dense.data.layouts.pairs_file import write_pairs
from convnext_dense.data.layouts.rendering import prepare_drawn_labels
from convnext_dense.data.layouts.sources import Sources
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.data.own.split_file import refuse_own_split
from convnext_dense.errors import UserError

SHOWN = 5
SUFFIXES = ("dataset.img_suffix", "dataset.seg_map_suffix")
Pairs = Mapping[str, Sequence[Pair]]


def prepare_own_labels(own: OwnData) -> OwnData:
    """Own data whose sources are folders of images and labels, or files of pairs.

    Args:
        own: Own data as the flags name it.

    Raises:
        UserError: For a layout that is not known, images without label, or no validation data.
    """
    if own.boxes:
        raise UserError("--boxes belongs to detection: a segmentor learns masks alone.")
    if _has_named_suffixes(own):
        return own
    sources = Sources(own)
    if sources.are_annotations():
        return prepare_drawn_labels(own)
    splits = own.splits or tuple(own.sources)
    first = sources.pairs(splits[0] if own.val_share is None else "train")
    meaning = settle_meaning(own, sources.first, first)
    if own.val_share is not None:
        if "val" in sources.first.splits and not own.lists:
            refuse_own_split(own.sources["train"][1])
        train, val = divide(own, first, meaning)
        pairs = {split: train if split == "train" else val for split in splits}
    else:
        pairs = {split: sources.pairs(split) for split in splits}
    _refuse_empty(pairs)
    folders = {split: _folders(chosen) for split, chosen in pairs.items()}
    if _says_nothing(own, sources.first, first) and all(folders.values()):
        return replace(own, sources=folders)
    sources.refuse_different()
    if own.folder is None:
        raise UserError("Own data in this layout need a folder to write to, which names the pairs.")
    if own.is_first:
        _say(own, sources.first, pairs, meaning)
    return replace(
        own,
        sources=_write(own, pairs, meaning),
        palette=None,
        mask_values=None,
        reduce_zero_label=meaning.reduce_zero_label,
    )


def _has_named_suffixes(own: OwnData) -> bool:
    """Whether options name the endings of files: then the dataset's own reading is meant."""
    named = any(f"{s}_dataloader.{end}" in own.options for s in own.splits for end in SUFFIXES)
    is_plain = own.palette is None and not own.lists and own.val_share is None
    return named and is_plain and all(images for images, _ in own.sources.values())


def _says_nothing(own: OwnData, layout: Layout, pairs: Sequence[Pair]) -> bool:
    """Whether labels are what the flags and ``classes.txt`` say, and nothing else does."""
    beside = find_beside(FILES, *near_folders(layout, pairs))
    return (
        layout.meaning == Meaning()
        and own.palette is None
        and (beside is None or own.mask_values is not None)
    )


def _folders(pairs: Sequence[Pair]) -> tuple[Path, Path] | None:
    """The folders that mmsegmentation's dataset would read the same pairs from; None for others."""
    images, labels = (
        Path(os.path.commonpath([pair[side].parent for pair in pairs])) for side in (0, 1)
    )
    try:
        ending = image_suffix(images)
        suffix = label_suffix(images, labels, ending)
    except UserError:
        return None
    names = [name.removesuffix(ending) for name in list_files(images) if name.endswith(ending)]
    read = {(images / (name + ending), labels / (name + suffix)) for name in names}
    return (images, labels) if read == set(pairs) else None


def _write(own: OwnData, pairs: Pairs, meaning: Meaning) -> dict[str, tuple[Path, Path]]:
    """Writes a file of pairs for each split; returns the images' common folder, and the file."""
    images = [os.path.abspath(image.parent) for chosen in pairs.values() for image, _ in chosen]
    root = Path(os.path.commonpath(images))
    files = {split: own.folder / f"{split}_pairs.json" for split in pairs}
    for split, file in files.items():
        write_pairs(file, root, pairs[split], meaning, own.is_first)
    return {split: (root, file) for split, file in files.items()}


def _refuse_empty(pairs: Pairs) -> None:
    for split, chosen in pairs.items():
        if not chosen:
            raise UserError(f"The {split} split of the data has no image with a label.")


def _say(own: OwnData, layout: Layout, pairs: Pairs, meaning: Meaning) -> None:
    """Says what was found: layout, counts, an example, classes, and what is left out."""
    image, label = next(iter(pairs.values()))[0]
    shown = {split: c for split, c in pairs.items() if split != "test" or "val" not in pairs}
    counts = " and ".join(f"{len(chosen)} images of {split}" for split, chosen in shown.items())
    print(f"Label images in the layout {layout.name}: {counts}; {image} has {label}.")
    if meaning.source:
        print(f"Their classes are those of {meaning.source}.")
    for remark in layout.remarks:
        print(remark)
    for line in [] if own.lists else _unused(pairs):
        print(line)


def _unused(pairs: Pairs) -> list[str]:
    """A sentence for each folder of labels on those without an image."""
    every = [pair for chosen in pairs.values() for pair in chosen]
    folders = {
        Path(os.path.commonpath([label.parent for _, label in chosen])) for chosen in pairs.values()
    }
    lines = []
    for folder in sorted(folders):
        if unused := unused_labels(every, folder):
            shown = ", ".join(unused[:SHOWN]) + (" ..." if len(unused) > SHOWN else "")
            lines.append(
                f"{len(unused)} label files of {folder} have no image and are left out: {shown}."
            )
    return lines
