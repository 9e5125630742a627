"""Images that a run is both trained and validated on: its figures say nothing of new ones."""

import os
from collections.abc import Iterable

from mmengine.config import Config

from convnext_dense.tasks import task_of


def remark_shared(cfg: Config) -> list[str]:
    """A sentence on the validation images that are training images; none where none is.

    Args:
        cfg: A config that was fitted to its data.
    """
    if not (cfg.get("train_dataloader") and cfg.get("val_dataloader")):
        return []
    task = task_of(cfg)
    train, val = (
        _resolve(p for one in task.datasets(cfg, split) for p in task.listed_images(cfg, one))
        for split in ("train", "val")
    )
    if not (both := train & val):
        return []
    return [
        f"{len(both):,} of {len(val):,} validation images are training images, such as "
        f"{min(both)}: figures on them say nothing of new images. --split 0.2 takes a part of "
        "the training data instead."
    ]


def _resolve(paths: Iterable[str]) -> set[str]:
    """Real paths; each folder is looked up once, as data sets have many images in few."""
    folders: dict[str, str] = {}
    found = set()
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.join(folders[folder], name)
        found.add(os.path.realpath(real) if os.path.islink(real) else real)
    return found
