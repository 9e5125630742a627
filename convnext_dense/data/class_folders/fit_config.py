"""Fits a classification config to its images: class names, and the head's number of them.

The names are stated once: by the config (``metainfo.classes``: a list, or the name of one that
everybody uses), or else by the training data's class folders, sorted. The dataset's class knows
how to look; the engine reaches it through mmengine's registry.
"""

import difflib
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from convnext_dense.config.config_tree import SPLITS, datasets
from convnext_dense.errors import UserError


def fit_to_class_folders(
    cfg: Config, splits: tuple[str, ...], classes: tuple[str, ...] | None = None
) -> None:
    """Sets the class names of all datasets and ``num_classes`` of the classifier.

    Does nothing to a config without labelled images.

    Args:
        cfg: A config whose datasets have full paths; changed in place.
        splits: The splits whose images must be there.
        classes: The names that a checkpoint was trained with.

    Raises:
        UserError: For missing data, training data that lacks classes, unknown ones, names that
            contradict the checkpoint's, or a head that was built for another number.
    """
    used = [data for split in splits for data in image_datasets(cfg, split)]
    if not used:
        return
    stated = _stated(cfg)
    names, source = _names(stated, used[0], classes)
    for split in splits:
        for data in image_datasets(cfg, split):
            _check(data, names, source, whole=split == "train")
    for split in SPLITS:
        for data in image_datasets(cfg, split):
            data.metainfo = dict(classes=stated or names)
    set_head_classes(cfg, len(names), source)


def image_datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The datasets of a split that hold one class an image."""
    return [data for data in datasets(cfg, split) if "reader" in data]


def set_head_classes(cfg: Config, num_classes: int, source: str) -> None:
    """Sets the classifier's ``num_classes``.

    Raises:
        UserError: When the config fixes another number.
    """
    backbone = cfg.model.backbone
    if backbone.setdefault("num_classes", num_classes) != num_classes:
        raise UserError(
            f"model.backbone is built for {backbone.num_classes} classes but {source} gives "
            f"{num_classes}: remove num_classes from the config, or mend the data."
        )


def assume_head_classes(cfg: Config) -> None:
    """Gives the head a number of classes where no data is read: the stated ones, else 2.

    For looking at a model (its learning rates), never for training one.
    """
    if image_datasets(cfg, "train"):
        stated = _stated(cfg)
        kind = DATASETS.get(image_datasets(cfg, "train")[0].type)
        cfg.model.backbone.setdefault("num_classes", len(kind.class_names(stated)) if stated else 2)


def _stated(cfg: Config) -> str | tuple[str, ...] | None:
    for split in SPLITS:
        for data in image_datasets(cfg, split):
            if classes := (data.get("metainfo") or {}).get("classes"):
                return classes if isinstance(classes, str) else tuple(classes)
    return None


def _names(
    stated: str | tuple[str, ...] | None, data: ConfigDict, trained: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str]:
    """The class names, and one phrase on where they stand."""
    kind = DATASETS.get(data.type)
    if stated:
        names, source = kind.class_names(stated), "metainfo.classes"
        source = stated if isinstance(stated, str) else source
    elif trained:
        names, source = trained, "the checkpoint"
    else:
        names, source = kind.find_classes(data.data_root, data.reader), data.data_root
    if names is None:
        raise UserError(
            f"{data.data_root} has labels but no class names: write classes.txt beside the "
            "shards, one name a line in the order of the labels, or give "
            "--cfg-options train_dataloader.dataset.metainfo.classes=imagenet-1k (or a list)."
        )
    if trained and names != trained:
        raise UserError(
            f"The checkpoint was trained for {len(trained)} classes ({_some(trained)}), but "
            f"{source} gives {len(names)} ({_some(names)})."
        )
    return names, source


def _check(data: ConfigDict, names: tuple[str, ...], source: str, whole: bool) -> None:
    """Compares a dataset's classes with the names; training needs all of them."""
    found = DATASETS.get(data.type).find_classes(data.data_root, data.reader)
    if found is None:
        return
    known = set(names)
    unknown = [name for name in found if name not in known]
    if unknown and data.get("only_known"):
        print_log(f"{data.data_root}: {len(unknown)} classes are left out ({_some(unknown)}).")
    elif unknown:
        near = difflib.get_close_matches(unknown[0], names, n=1, cutoff=0)
        raise UserError(
            f"{data.data_root} has {len(found)} classes, of which {source} does not know "
            f"{len(unknown)}, such as {unknown[0]!r} (the nearest is {near[0]!r}). For classes "
            "of your own: --cfg-options train_dataloader.dataset.metainfo.classes=None, and the "
            "same for val_dataloader."
        )
    shared = len(found) - len(unknown)
    if shared < len(names):
        text = f"{data.data_root} has {shared} of the {len(names)} classes of {source}"
        if whole:
            raise UserError(
                f"{text}: the head would have outputs that nothing trains. Complete the data, or "
                "give --cfg-options train_dataloader.dataset.metainfo.classes=None to train for "
                "those that are there."
            )
        print_log(f"{text}; the prediction is still among all of them.")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
