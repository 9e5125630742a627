"""Class names of a trained model, where no dataset is at hand to tell them."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from convnext_dense.config.config_tree import SPLITS, datasets
from convnext_dense.errors import UserError
from convnext_dense.weights.checkpoints import count_classes, trained_classes

SHOWN = 5  # classes in a sentence


def class_names(cfg: Config, checkpoint: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """The classes that a checkpoint names, else those of the config's dataset.

    The second is for files without ``meta``, and only where their heads tell as many classes
    apart: COCO's 80, ADE20K's 150, or what a resolved config names.

    Raises:
        UserError: When neither tells.
    """
    if names := trained_classes(checkpoint):
        return names
    for data in (data for split in SPLITS for data in datasets(cfg, split)):
        names = data.get("metainfo", {}).get("classes") or dataset_classes(cfg, data.type)
        if names and len(names) == count_classes(checkpoint):
            return tuple(names)
    raise UserError(
        f"{source} names no classes, and its heads are not those of the config's dataset: give a "
        "checkpoint that names them, as those of our trainings do."
    )


def check_classes(checkpoint: Mapping[str, Any], dataset: Any, source: str) -> None:
    """Refuses to resume a run whose classes are not those of the training data.

    Raises:
        UserError: When names or their order differ.
    """
    theirs = trained_classes(checkpoint)
    ours = tuple((getattr(dataset, "metainfo", None) or {}).get("classes") or ())
    if not theirs or not ours or theirs == ours:
        return
    label = next(
        (i for i, pair in enumerate(zip(theirs, ours, strict=False)) if len(set(pair)) > 1), None
    )
    detail = (
        f"it has {len(theirs)} classes, the data {len(ours)}"
        if label is None
        else f"its class {label} is {theirs[label]!r}, the data's {ours[label]!r}"
    )
    raise UserError(
        f"{source} belongs to a run on other classes ({detail}): resume with that run's data, or "
        "start a new run from its weights with --load-from."
    )


def remark_absent(counts: Mapping[str, int], what: str, where: str = "") -> list[str]:
    """A sentence on classes that do not occur in the training data; none where all do.

    Args:
        counts: How often each class occurs, in the order of the labels.
        what: What is counted: ``instance``, ``pixel``.
        where: What was looked at, where it was not all of the training data.
    """
    absent = [name for name, count in counts.items() if not count]
    if not absent:
        return []
    names = ", ".join(absent[:SHOWN]) + (" ..." if len(absent) > SHOWN else "")
    hint = ""
    if what == "instance" and absent[0] == next(iter(counts)):
        hint = (
            f" (where {absent[0]!r} only fills the first place, remove the category: a detector "
            "needs none for the background)"
        )
    return [
        f"{len(absent)} of {len(counts)} classes have no {what} to train on{where}: {names}{hint}."
    ]


def dataset_classes(cfg: Config, kind: str) -> tuple[str, ...]:
    """The class names that a dataset type brings with it; empty where it brings none.

    Raises:
        UserError: When there is no such type.
    """
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        found = registry.get(kind)
    if found is None:
        raise UserError(f"There is no dataset type {kind!r}; for own data: BaseSegDataset.")
    return tuple(found.METAINFO.get("classes", ()))
