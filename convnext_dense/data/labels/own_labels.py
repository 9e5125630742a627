"""A user's images and label images by flags: endings, class names, what a mask's values mean."""

from collections.abc import Mapping
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
from convnext_dense.data.own_data import OwnData
from convnext_dense.errors import UserError


def use_own_labels(
    dataset: ConfigDict, images: str, labels: str, own_data: OwnData, options: Mapping[str, Any]
) -> None:
    """Makes a dataset one of a user's images and label images.

    Sets the endings of the files, the meaning of label 0, and the class names where a file has
    them.

    Args:
        dataset: The dataset; its ``data_root`` is set.
        images, labels: Folders relative to it.
        own_data: The flags.
        options: ``--cfg-options`` below the dataset: endings that they state are not searched for.

    Raises:
        UserError: For images with several endings, or labels that do not belong to them.
    """
    dataset.pop("ann_file", None)
    prefix = dict(img_path=images, seg_map_path=labels)
    dataset.update(type="BaseSegDataset", data_prefix=prefix)
    image_folder, label_folder = Path(dataset.data_root, images), Path(dataset.data_root, labels)
    dataset.img_suffix = options.get("img_suffix") or image_suffix(image_folder)
    dataset.seg_map_suffix = options.get("seg_map_suffix") or label_suffix(
        image_folder, label_folder, dataset.img_suffix
    )
    dataset.reduce_zero_label = own_data.reduce_zero_label
    file = own_data.classes or find_class_file(image_folder, label_folder)
    names = read_names(file) if file is not None else ()
    if own_data.mask_values is not None:
        names = _use_mask_values(dataset, own_data.mask_values, names, file)
    if names:
        dataset.metainfo = dict(classes=names)


def _use_mask_values(
    dataset: ConfigDict,
    values: Mapping[int, str | None],
    names: tuple[str, ...],
    file: Path | None,
) -> tuple[str, ...]:
    """Tells the step that reads labels what the values of the masks mean.

    Returns:
        The class names: those of the class file, else those of the values in their order.

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
    names = names or named
    check_names(names, "--mask-values")
    pairs = [
        [value, MAX_CLASSES if name is None else names.index(name)]
        for value, name in values.items()
    ]
    for node in walk(dataset.get("pipeline")):
        if node.get("type") == "LoadLabels":
            node.mask_values = pairs
    return names


def find_class_file(*folders: Path) -> Path | None:
    """The nearest ``classes.txt``: in one of the folders, beside it, or above it."""
    for level in range(3):
        for folder in folders:
            path = [folder, *folder.parents][min(level, len(folder.parents))] / CLASS_FILE
            if path.is_file():
                return path
    return None
