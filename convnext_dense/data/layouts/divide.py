"""A validation split taken from label images: stratified by the classes that occur in each."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convnext_dense.data.labels.label_image import read_colours, read_indices
from convnext_dense.data.layouts.layout import Meaning, Pair
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.data.own.split_file import SPLIT_FILE, settle_split
from convnext_dense.data.own.splitting import remark_split
from convnext_dense.runs.progress import new_progress

IGNORED = 255


def divide(own: OwnData, pairs: Sequence[Pair], meaning: Meaning) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs by ``--split``, ``--group-by`` and ``--seed``.

    The division is written to ``split.json``, by the images' names.

    Raises:
        UserError: For images that cannot be divided, or labels that cannot be read.
    """
    root = os.path.commonpath([image.parent for image, _ in pairs])
    named = {Path(os.path.relpath(pair[0], root)).as_posix(): pair for pair in pairs}
    classes = []
    with new_progress() as progress:
        task = progress.add_task("classes of the labels", total=len(named), figures="")
        for _, label in named.values():
            classes.append(classes_in(label, meaning))
            progress.advance(task)
    train, val = settle_split(
        own.folder / SPLIT_FILE,
        list(named),
        classes,
        own.val_share,
        own.seed,
        own.group_by,
        own.resume,
        own.is_first,
    )
    if own.is_first:
        print("".join(f"{line}\n" for line in remark_split(list(named), classes, val)), end="")
    return [named[name] for name in train], [named[name] for name in val]


def classes_in(label: Path, meaning: Meaning) -> set[str]:
    """The classes of a label image; what has no class is named when the data is checked."""
    if meaning.colours is not None:
        found = np.unique(read_colours(label)).tolist()
        known = meaning.colours
        names = {known.get((code >> 16, code >> 8 & 255, code & 255)) for code in found}
        return {name for name in names if name is not None}
    found = np.unique(read_indices(label)).tolist()
    if meaning.values is not None:
        return {name for name in map(meaning.values.get, found) if name is not None}
    first = int(meaning.reduce_zero_label)
    named = meaning.classes or ()
    return {
        named[value - first] if value - first < len(named) else str(value)
        for value in found
        if value != IGNORED and value >= first
    }
