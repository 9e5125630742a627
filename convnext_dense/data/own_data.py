"""Own data by flags: ``--train-json --val-json --images``, or ``--images --labels``.

The flags are turned into the datasets of a config before ``--cfg-options`` are applied, so an
option given beside them wins. From there on own data is treated as any other data.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.options import options_below
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of

DETECTION, SEGMENTATION = "detection", "segmentation"
FLAGS = (
    "train_json", "val_json", "images", "labels", "classes", "reduce_zero_label", "mask_values",
    "epochs",
)  # fmt: skip
IGNORE = "ignore"  # in the place of a class name of --mask-values
FOLDERS = {"train": "train", "val": "val", "test": "val"}  # split -> sub-folder of a single folder


@dataclass(frozen=True)
class OwnData:
    """Own images and their truth, split by split.

    Attributes:
        task: ``detection`` or ``segmentation``.
        sources: ``{split: (folder of images, COCO json or folder of label images)}``.
        classes: Text file of class names (segmentation); None looks for ``classes.txt``.
        reduce_zero_label: Index 0 is ignored and the first class has index 1 (segmentation).
        mask_values: Class name of each value of the masks, where those are no indices; None for a
            value that is ignored (segmentation).
    """

    task: str
    sources: dict[str, tuple[Path, Path]]
    classes: Path | None = None
    reduce_zero_label: bool = False
    mask_values: Mapping[int, str | None] | None = None


def from_args(args: argparse.Namespace, splits: tuple[str, ...]) -> OwnData | None:
    """The own data that the flags name; None where they name none.

    Args:
        args: What a parser with ``add_own_data_arguments`` has read.
        splits: The splits that the tool needs, out of ``train``, ``val`` and ``test``.

    Raises:
        UserError: For flags that do not go together, and files or folders that are not there.
    """
    given = ["--" + flag.replace("_", "-") for flag in FLAGS if vars(args)[flag]]
    if not given:
        return None
    has_json = args.train_json or args.val_json
    if args.labels and has_json:
        raise UserError("--labels belongs to segmentation and a json to detection: give one.")
    if not args.labels and not has_json:
        raise UserError(
            f"{given[0]} belongs to own data, which a detector takes from --train-json, --val-json "
            "and --images, a segmentor from --images and --labels."
        )
    if not args.images:
        raise UserError(f"{given[0]} needs --images, the folder of the images.")
    return _with_labels(args, splits) if args.labels else _with_jsons(args, splits)


def _with_labels(args: argparse.Namespace, splits: tuple[str, ...]) -> OwnData:
    image_folders = _folders("--images", args.images)
    labels = _folders("--labels", args.labels)
    sources = {}
    for split in splits:
        images = _of_split("--images", image_folders, split, splits)
        sources[split] = (images, _of_split("--labels", labels, split, splits))
    classes = _file("--classes", args.classes) if args.classes else None
    values = parse_mask_values(args.mask_values) if args.mask_values else None
    if values and args.reduce_zero_label:
        raise UserError(
            "--mask-values says what each value means: leave out --reduce-zero-label, or write "
            f"0={IGNORE}."
        )
    return OwnData(SEGMENTATION, sources, classes, args.reduce_zero_label, values)


def parse_mask_values(pairs: Sequence[str]) -> dict[int, str | None]:
    """``["0=background", "255=road"]`` as a dictionary; a value named ``ignore`` has None.

    Raises:
        UserError: For what is no pair, no value, or a value named twice.
    """
    named: dict[int, str | None] = {}
    for pair in pairs:
        value, equals, name = pair.partition("=")
        if not equals or not value.strip().isdecimal() or not name.strip():
            raise UserError(
                f"--mask-values takes pairs like 0=background 255=road, a value of the masks and "
                f"the name of its class, got {pair!r}."
            )
        if int(value) in named:
            raise UserError(f"--mask-values names the value {int(value)} twice.")
        named[int(value)] = None if name.strip() == IGNORE else name.strip()
    return named


def _with_jsons(args: argparse.Namespace, splits: tuple[str, ...]) -> OwnData:
    if args.classes or args.reduce_zero_label or args.mask_values:
        raise UserError(
            "--classes, --reduce-zero-label and --mask-values belong to segmentation: the classes "
            "of a detector "
            "are those of its json (some of them: --cfg-options "
            "train_dataloader.dataset.metainfo.classes=NAME,NAME)."
        )
    image_folders = _folders("--images", args.images)
    sources = {}
    for split in splits:
        flag, path = _json_flag(args, split)
        sources[split] = (image_folders[0 if split == "train" else -1], _file(flag, path))
    return OwnData(DETECTION, sources)


def _json_flag(args: argparse.Namespace, split: str) -> tuple[str, str]:
    path = args.train_json if split == "train" else args.val_json
    if path:
        return f"--{FOLDERS[split]}-json", path
    given, lacking = ("val", "train") if split == "train" else ("train", "val")
    raise UserError(f"--{given}-json needs --{lacking}-json beside it, a COCO file.")


def _file(flag: str, path: str) -> Path:
    if not Path(path).is_file():
        raise UserError(f"{flag} names {path}, which is no file.")
    return Path(path)


def _folders(flag: str, paths: list[str]) -> list[Path]:
    if len(paths) > 2:
        raise UserError(f"{flag} takes one or two folders, training and validation, not {paths}.")
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"{flag} names {path}, which is no folder.")
    return [Path(path) for path in paths]


def _of_split(flag: str, folders: list[Path], split: str, splits: tuple[str, ...]) -> Path:
    """The folder of a split: one of two, or the sub-folder ``train`` or ``val`` of one."""
    if len(folders) == 2:
        return folders[0 if split == "train" else 1]
    inside = folders[0] / FOLDERS[split]
    if inside.is_dir():
        return inside
    if "train" in splits and len(splits) > 1:
        raise UserError(
            f"{flag} {folders[0]} is one folder for training and validation: give two, or one with "
            "train/ and val/ in it."
        )
    return folders[0]


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
    if task.name != own_data.task:
        raise UserError(
            f"{cfg.filename} is for {task.name}: "
            "a detector takes --train-json and --val-json, a segmentor --labels."
        )
    paths = {split: tuple(map(os.path.abspath, pair)) for split, pair in own_data.sources.items()}
    root = os.path.commonpath([
        path if os.path.isdir(path) else os.path.dirname(path)
        for pair in paths.values() for path in pair
    ])  # fmt: skip
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
        images, truth = (os.path.relpath(path, root) for path in (images, truth))
        below = options_below(options, f"{split}_dataloader.dataset")
        task.use_own_data(dataset, images, truth, own_data, below)
