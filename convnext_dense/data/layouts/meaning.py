"""What the values of own label images mean: flags, files beside the data, the layout itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from convnext_dense.data.image_scan import evenly_spaced
from convnext_dense.data.labels.fit_config import CLASS_FILE, read_names
from convnext_dense.data.labels.label_image import read_colours, read_indices
from convnext_dense.data.labels.own_labels import find_beside
from convnext_dense.data.layouts.class_files import read_class_file
from convnext_dense.data.layouts.layout import Layout, Meaning, Pair
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError

# Files of tools and datasets that name classes; Mapillary's is read with its layout.
FILES = ("labelmap.txt", "class_dict.csv", "_classes.csv", "class_names.txt")
PROBED = 16  # label images that tell colours from indices


def settle_meaning(own: OwnData, layout: Layout, pairs: Sequence[Pair]) -> Meaning:
    """The meaning of the labels of ``pairs``.

    Flags win over ``classes.txt``, and that over other files beside the data and the names of a
    public dataset. Colours and values keep their classes in the order of ``classes.txt``.

    Args:
        own: The flags.
        layout: Where they were found, and what that says.
        pairs: Images and labels.

    Raises:
        UserError: For a file of classes that cannot be read, names that contradict, or colours
            without a palette.
    """
    found, folders = layout.meaning, near_folders(layout, pairs)
    names_file = own.classes or find_beside((CLASS_FILE,), *folders)
    names = read_names(names_file) if names_file else None
    if own.palette:
        meaning = read_class_file(own.palette)
    elif own.mask_values is not None:
        classes = tuple(dict.fromkeys(name for name in own.mask_values.values() if name))
        meaning = Meaning(classes, values=own.mask_values, source="--mask-values")
    elif (file := find_beside(FILES, *folders)) is not None:
        meaning = fit_to_labels(read_class_file(file), pairs)
    else:
        meaning = found
        if names is not None and names != found.classes:  # the values are indices of these
            meaning = replace(found, classes=names, values=None, source=str(names_file))
    if names is not None and meaning.classes != names:
        _check_same(meaning, names, names_file)
        meaning = replace(meaning, classes=names, source=f"{meaning.source}, {names_file}")
    if meaning.colours is None:
        for path in _sample(pairs):  # colours are named before class names are asked for
            read_indices(path)
    reduce_zero = own.reduce_zero_label or meaning.reduce_zero_label
    return replace(meaning, reduce_zero_label=reduce_zero and not meaning.colours)


def fit_to_labels(meaning: Meaning, pairs: Sequence[Pair]) -> Meaning:
    """A file of colours or values that lies beside the data: whether the labels hold them.

    Label images of indices count the classes in the file's order.
    """
    sample = _sample(pairs)
    if meaning.colours is not None and _hold_colours(sample, meaning.colours):
        return meaning
    if meaning.values is not None and _hold_values(sample, meaning.values):
        return meaning
    return replace(meaning, colours=None, values=None)


def near_folders(layout: Layout, pairs: Sequence[Pair]) -> tuple[Path, ...]:
    """The folders by which files that name classes are looked for."""
    image, label = pairs[0]
    return (*layout.folders, image.parent, label.parent)


def _sample(pairs: Sequence[Pair]) -> list[Path]:
    return [pairs[number][1] for number in evenly_spaced(len(pairs), PROBED)]


def _hold_colours(sample: Sequence[Path], colours: Mapping) -> bool:
    """Whether labels have these colours alone, or colours at all."""
    known = [red * 65536 + green * 256 + blue for red, green, blue in colours]
    if all(np.isin(read_colours(path), known).all() for path in sample):
        return True
    try:
        for path in sample:
            read_indices(path)
    except UserError:
        return True  # unknown colours are named when labels are checked
    return False


def _hold_values(sample: Sequence[Path], values: Mapping) -> bool:
    known = list(values)
    return all(np.isin(read_indices(path), known).all() for path in sample)


def _check_same(meaning: Meaning, names: tuple[str, ...], file: Path) -> None:
    """Two files that name classes must name the same ones."""
    unknown = [name for name in meaning.classes or () if name not in names]
    if unknown:
        raise UserError(
            f"{meaning.source} names the class {unknown[0]!r}, but {file} has {', '.join(names)}: "
            "give the same names."
        )
