"""Fits a segmentation config to its data: class names, heads and the check of the labels.

Class names are stated once: in the config (``metainfo.classes``), or in ``classes.txt`` beside the
data, one a line, or by the dataset's class, as ADE20KDataset does.
"""

import difflib
import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from convnext_dense.config.config_tree import SPLITS, datasets, walk
from convnext_dense.data.class_names import dataset_classes
from convnext_dense.data.head_classes import (
    assume_num_classes,
    check_head_weights,
    set_num_classes,
)
from convnext_dense.data.labels.folders import check_list, check_pairs
from convnext_dense.data.layouts.pairs_file import check_files
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import MissingDataError, UserError

CLASS_FILE = "classes.txt"
LISTED_PAIRS = "ListedPairs"  # the dataset of a file of pairs
MAX_CLASSES = 255  # a label is a byte, and 255 is ignored


def fit_to_labels(
    cfg: Config, splits: tuple[str, ...], classes: tuple[str, ...] | None = None
) -> None:
    """Sets the class names, every head's ``num_classes`` and that of ``LoadLabels``.

    Does nothing to a config without label images.

    Args:
        cfg: A config whose datasets have full paths; changed in place.
        splits: The splits whose folders must be there.
        classes: The names that a checkpoint was trained with; the data must have the same.

    Raises:
        UserError: For missing folders or images, missing or contradicting class names, or heads
            that were built for another number of classes.
    """
    used = [data for split in splits for data in label_datasets(cfg, split)]
    if not used:
        return
    for data in used:
        _check_folders(data)
    names, source = _class_names(cfg, used, classes)
    if classes is not None and names != classes:
        raise UserError(
            f"The checkpoint was trained for the classes {', '.join(classes)}, but {source} gives "
            f"{', '.join(names)}: give the same names in the same order."
        )
    for split in SPLITS:
        for data in label_datasets(cfg, split):
            data.metainfo = dict(data.get("metainfo", {}), classes=names)
        for node in walk(cfg.get(f"{split}_dataloader")):
            if node.get("type") == "LoadLabels":
                node.num_classes = len(names)
    set_num_classes(cfg.model, len(names), source)
    check_head_weights(cfg.model, names)


def label_datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The datasets of a split that have label images."""
    return [data for data in datasets(cfg, split) if "seg_map_path" in data.get("data_prefix", {})]


def assume_label_classes(cfg: Config) -> None:
    """Gives heads a number of classes where no data is read: the dataset class's own, else 2.

    For looking at a model (its learning rates, its size), never for training one.
    """
    own = [dataset_classes(cfg, data.type) for data in label_datasets(cfg, "train")]
    if own:
        assume_num_classes(cfg.model, len(own[0]) or 2)


def _check_folders(data: ConfigDict) -> None:
    for key in ("img_path", "seg_map_path"):
        folder = os.path.join(data.data_root, data.data_prefix[key])
        if not Path(folder).is_dir():
            raise MissingDataError("folder", folder)
    if data.type == LISTED_PAIRS:
        check_files(
            Path(data.data_root, data.ann_file), Path(data.data_root, data.data_prefix.img_path)
        )
    elif data.get("ann_file"):
        check_list(Path(data.data_root, data.ann_file), *pairing(data))
    else:
        check_pairs(*pairing(data))


def pairing(data: ConfigDict) -> tuple[Path, Path, str, str]:
    """A dataset's folders of images and of labels, and the endings of both."""
    return (
        Path(data.data_root, data.data_prefix.img_path),
        Path(data.data_root, data.data_prefix.seg_map_path),
        data.get("img_suffix", ".jpg"),
        data.get("seg_map_suffix", ".png"),
    )


def _class_names(
    cfg: Config, used: list[ConfigDict], trained: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    """The class names, and one phrase on where they stand."""
    stated = [
        *_fixed(cfg),
        *((read_names(path), str(path)) for data in used if (path := _class_file(data)).is_file()),
    ]
    names, source = stated[0] if stated else _without_config(cfg, used[0], trained)
    for other, where in stated[1:]:
        if other != names:
            raise UserError(
                f"{source} gives the classes {', '.join(names)}, but {where} gives "
                f"{', '.join(other)}: state them once."
            )
    for data in used:
        _check_known(names, dataset_classes(cfg, data.type), data.type)
    check_names(names, source)
    return names, source


def _without_config(
    cfg: Config, data: ConfigDict, trained: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    if trained:  # also where it knows some of the dataset type's classes only
        return trained, "the checkpoint"
    own = dataset_classes(cfg, data.type)
    if own:
        return own, f"the dataset type {data.type}"
    raise UserError(
        f"There are no class names for {data.data_root}: write them into {_class_file(data)}, one "
        "a line in the order of the labels, or give them with --cfg-options "
        "train_dataloader.dataset.metainfo.classes=NAME,NAME,..."
    )


def _fixed(cfg: Config) -> list[tuple[tuple[str, ...], str]]:
    """The names that the config states, split by split."""
    stated = []
    for split in SPLITS:
        for data in label_datasets(cfg, split):
            if "classes" in data.get("metainfo", {}):
                names = data.metainfo["classes"]
                names = (names,) if isinstance(names, str) else tuple(map(str, names))
                stated.append((names, f"{split}_dataloader's metainfo.classes"))
    return stated


def _class_file(data: ConfigDict) -> Path:
    return Path(data.data_root, CLASS_FILE)


def read_names(path: Path) -> tuple[str, ...]:
    """The class names of a text file, one a line; empty lines do not count."""
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    check_names(names, str(path))
    return names


def check_names(names: tuple[str, ...], source: str) -> None:
    """Refuses too few or too many names, and a name given twice.

    One class alone says nothing: its pixels need another class beside them, the background.
    """
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) != len(names):
        raise UserError(
            f"{source} must give 2 to {MAX_CLASSES} distinct class names, got {len(names)}: "
            f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}. (With a single class, name "
            "the background as a class too.)"
        )


def _check_known(names: tuple[str, ...], own: tuple[str, ...], kind: str) -> None:
    """A dataset type with names of its own takes these and no others."""
    for name in names if own else ():
        if name not in own:
            near = difflib.get_close_matches(name, own, n=1, cutoff=0)[0]
            raise UserError(
                f"{kind} has no class {name!r}; the nearest is {near!r}. Own classes need the "
                "dataset type BaseSegDataset."
            )
