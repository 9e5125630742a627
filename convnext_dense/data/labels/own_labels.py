"""A user's images and label images by flags: endings, class names, what a mask's values mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from convnext_dense.config.config_tree import walk
from convnext_dense.data.labels.fit_config import (
    CLASS_FILE,
    MAX_CLASSES,
    check_names,
    read_names,
)
from convnext_dense.data.labels.folders import image_suffix, label_suffix
from convnext_dense.data.layouts.pairs_file import read_pairs
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError


def use_own_labels(
    dataset: ConfigDict, images: str, labels: str, own_data: OwnData, options: Mapping[str, Any]
) -> None:
    """Makes a dataset one of a user's images and label images.

    Sets the endings of the files, the meaning of label 0, and the class names where a file has
    them.

    Args:
        dataset: The dataset; its ``data_root`` is set.
        images, labels: Folders relative to it; or the second is a file of pairs.
        own_data: The flags.
        options: ``--cfg-options`` below the dataset: endings that they state are not searched for.

    Raises:
        UserError: For images with several endings, or labels that do not belong to them.
    """
    if Path(dataset.data_root, labels).is_file():
        names = _use_pairs(dataset, images, labels)
    else:
        names = _use_folders(dataset, images, labels, own_data, options)
    if names:
        dataset.metainfo = dict(classes=names)


def _use_folders(
    dataset: ConfigDict, images: str, labels: str, own_data: OwnData, options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Folders whose files have one ending each; returns the class names."""
    dataset.pop("ann_file", None)
    prefix = dict(img_path=images, seg_map_path=labels)
    dataset.update(type="BaseSegDataset", data_prefix=prefix)
    image_folder, label_folder = Path(dataset.data_root, images), Path(dataset.data_root, labels)
    dataset.img_suffix = options.get("img_suffix") or image_suffix(image_folder)
    dataset.seg_map_suffix = options.get("seg_map_suffix") or label_suffix(
        image_folder, label_folder, dataset.img_suffix
    )
    dataset.reduce_zero_label = own_data.reduce_zero_label
    file = own_data.classes or find_beside((CLASS_FILE,), image_folder, label_folder)
    names = read_names(file) if file is not None else ()
    if own_data.mask_values is not None:
        names = _names_of(own_data.mask_values, names, file)
        check_names(names, "--mask-values")
        _set_steps(dataset, mask_values=_with_labels(own_data.mask_values, names))
    return names


def _use_pairs(dataset: ConfigDict, images: str, file: str) -> tuple[str, ...] | None:
    """A file of pairs, which says what the labels mean; returns the class names."""
    for key in ("img_suffix", "seg_map_suffix"):
        dataset.pop(key, None)
    prefix = dict(img_path=images, seg_map_path=images)
    dataset.update(type="ListedPairs", ann_file=file, data_prefix=prefix)
    meaning = read_pairs(Path(dataset.data_root, file)).meaning
    dataset.reduce_zero_label = meaning.reduce_zero_label
    names = meaning.classes or ()
    if meaning.colours is not None:
        pairs = _with_labels(meaning.colours, names)
        _set_steps(dataset, colours=[[*colour, label] for colour, label in pairs])
    if meaning.values is not None:
        _set_steps(dataset, mask_values=_with_labels(meaning.values, names))
    return names


def _names_of(
    values: Mapping[int, str | None], names: tuple[str, ...], file: Path | None
) -> tuple[str, ...]:
    """The class names: those of the class file, else those of the values in their order.

    Raises:
        UserError: For a name that the class file does not have.
    """
    named = tuple(dict.fromkeys(name for name in values.values() if name is not None))
    unknown = [name for name in named if name not in names]
    if names and unknown:
        raise UserError(
            f"--mask-values names the class {unknown[0]!r}, but {file} has {', '.join(names)}: "
            "give the same names."
        )
    return names or named


def _with_labels(named: Mapping[Any, str | None], names: Sequence[str]) -> list[list]:
    """Each value or colour with the label of its class; 255 for one that is ignored."""
    return [
        [key, MAX_CLASSES if name is None else names.index(name)] for key, name in named.items()
    ]


def _set_steps(dataset: ConfigDict, **settings: Any) -> None:
    """Tells the step that reads labels what they hold.

    Raises:
        UserError: Where the config reads labels by another step, which would take them for indices.
    """
    steps = [node for node in walk(dataset.get("pipeline")) if node.get("type") == "LoadLabels"]
    if not steps:
        raise UserError(
            "These label images hold no indices, and the config reads them by a step that takes "
            "them for indices: write dict(type='LoadLabels') in the place of LoadAnnotations into "
            "its pipelines, and convnext_dense.segmentation.load_labels into custom_imports."
        )
    for step in steps:
        step.update(settings)


def find_beside(names: Sequence[str], *folders: Path) -> Path | None:
    """The nearest file of one of these names: in one of the folders, beside it, or above it."""
    for level in range(3):
        for folder in folders:
            above = [folder, *folder.parents][min(level, len(folder.parents))]
            found = next((above / name for name in names if (above / name).is_file()), None)
            if found is not None:
                return found
    return None
