"""Own data by flags: ``--train-data --val-data``, or in parts: json, images, labels.

The flags are turned into the datasets of a config before ``--cfg-options`` are applied, so an
option given beside them wins. From there on own data is treated as any other data.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.options import options_below
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of

DETECTION, SEGMENTATION, PANOPTIC = "detection", "segmentation", "panoptic"
IGNORE = "ignore"  # in the place of a class name of --mask-values


@dataclass(frozen=True)
class OwnData:
    """Own images and their truth, split by split.

    Attributes:
        task: ``detection``, ``segmentation`` or ``panoptic``; None where the flags fit several.
        sources: ``{split: (folder of images, COCO json or folder of label images)}``. The folder is
            None where the second, of any format, says where the images are.
        segments: Folder of the PNGs of each panoptic file, by its absolute path (panoptic).
        classes: Text file of class names (segmentation); None looks for ``classes.txt``.
        reduce_zero_label: Index 0 is ignored and the first class has index 1 (segmentation).
        mask_values: Class name of each value of the masks, where those are no indices; None for a
            value that is ignored (segmentation).
        data_format: Name of the format; None recognises it.
        strict: Refuse what would be mended.
        boxes: Leave all masks out (detection).
        palette: File of the colour of each class (segmentation).
        lists: Files of image names, split by split.
        val_share: Share of the training data that becomes the validation split.
        group_by: Pattern of what images have in common that stay together in one split.
        seed: Of the division into splits; None where no flag says it.
        options: ``--cfg-options``, which win over what is found.
        splits: The splits that the command needs.
        resume: Whether a run goes on, with the files that it has made of its data.
        is_first: Whether this process is the one that writes.
        trained: The class names of the checkpoint that is tested; None in a training.
        folder: Where files that are made of the data go; None where nothing may be written.
    """

    task: str | None
    sources: dict[str, tuple[Path | None, Path]]
    segments: Mapping[str, Path] = field(default_factory=dict)
    classes: Path | None = None
    reduce_zero_label: bool = False
    mask_values: Mapping[int, str | None] | None = None
    data_format: str | None = None
    strict: bool = False
    boxes: bool = False
    palette: Path | None = None
    lists: Mapping[str, Path] = field(default_factory=dict)
    val_share: float | None = None
    group_by: str | None = None
    seed: int | None = None
    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    resume: bool = False
    is_first: bool = True
    trained: tuple[str, ...] | None = None


def own_data_step(
    own_data: OwnData | None, options: Mapping[str, Any] | None
) -> Callable[[Config], None] | None:
    """The step that puts own data into a config before ``--cfg-options``; None without own data."""
    if own_data is None:
        return None
    return lambda cfg: use_own_data(cfg, own_data, options or {})


def use_own_data(cfg: Config, own_data: OwnData, options: Mapping[str, Any]) -> None:
    """Puts own data into the datasets of a config, whatever they were.

    Their ``data_root`` becomes the absolute path of the folder that all of it lies in, so that the
    resolved config can be used from anywhere.

    Args:
        cfg: A config as read from its file; changed in place.
        own_data: The data.
        options: ``--cfg-options``, applied later: endings that they state are not searched for.

    Raises:
        UserError: For data of another task, or images with several endings.
    """
    task = task_of(cfg)
    if own_data.task not in (None, task.name):
        raise UserError(
            f"{cfg.filename} is for {task.name}: "
            "a detector takes --train-json and --val-json, a segmentor --labels, a panoptic model "
            "all three."
        )
    own_data = task.prepare_own_data(replace(own_data, options=options))
    paths = {split: tuple(map(os.path.abspath, pair)) for split, pair in own_data.sources.items()}
    root = _common_folder([path for pair in paths.values() for path in pair], own_data.folder)
    for split, (images, truth) in paths.items():
        replaced = datasets(cfg, split)
        if len(replaced) != 1:
            raise UserError(
                f"{cfg.filename} has {len(replaced)} datasets in {split}_dataloader: own data "
                "takes the place of exactly one."
            )
        (dataset,) = replaced
        dataset.pop("metainfo", None)
        dataset.update(data_root=root)
        images, truth = (_below(path, root) for path in (images, truth))
        below = options_below(options, f"{split}_dataloader.dataset")
        task.use_own_data(dataset, images, truth, own_data, below)


def _common_folder(paths: Sequence[str], made: Path | None) -> str:
    """The folder that all of the user's data lies in; files that were made of it do not count."""
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in paths]
    own = [f for f in folders if made is None or not Path(f).is_relative_to(os.path.abspath(made))]
    return os.path.commonpath(own or folders)


def _below(path: str, root: str) -> str:
    """A path relative to ``root``, where it lies in there."""
    return os.path.relpath(path, root) if Path(path).is_relative_to(root) else path
