"""The flags of one's own data, read and compared with each other."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convnext_dense.data.own.own_data import DETECTION, IGNORE, PANOPTIC, SEGMENTATION, OwnData
from convnext_dense.data.own.split_file import refuse_own_split
from convnext_dense.errors import UserError

FLAGS = (
    "train_data", "val_data", "train_json", "val_json", "images", "labels", "classes",
    "reduce_zero_label", "mask_values", "palette", "data_format", "strict", "boxes",
    "train_list", "val_list", "val_share", "group_by", "epochs",
)  # fmt: skip
VALIDATION = ("val_data", "val_json", "val_list")  # what to evaluate on
NAMES = dict(val_share="split")  # a flag whose name is not that of its value
FOLDERS = {"train": "train", "val": "val", "test": "val"}  # split -> sub-folder of a single folder


def from_args(args: argparse.Namespace, splits: tuple[str, ...]) -> OwnData | None:
    """The own data that the flags name; None where they name none.

    Args:
        args: What a parser with ``add_own_data_arguments`` has read.
        splits: The splits that the tool needs, out of ``train``, ``val`` and ``test``.

    Raises:
        UserError: For flags that do not go together, and files or folders that are not there.
    """
    given = ["--" + NAMES.get(flag, flag).replace("_", "-") for flag in FLAGS if vars(args)[flag]]
    if not given:
        return None
    return replace(
        _named(args, splits, given),
        splits=splits,
        data_format=args.data_format,
        strict=args.strict,
        boxes=args.boxes,
        palette=_file("--palette", args.palette) if args.palette else None,
        lists=_lists(args, splits),
        val_share=_share(args),
        group_by=_pattern(args),
        seed=getattr(args, "seed", None),
    )


def names_validation(args: argparse.Namespace) -> bool:
    """Whether flags say what to validate own data on, or name no own data at all."""
    own = args.train_data or args.train_json or args.labels
    stated = (args.val_data, args.val_json, args.val_list, args.val_share)
    return not own or any(value is not None for value in stated)


def _named(args: argparse.Namespace, splits: tuple[str, ...], given: list[str]) -> OwnData:
    """The images and annotations that the flags name."""
    if args.train_data or args.val_data:
        return _with_data(args, splits)
    has_json = args.train_json or args.val_json
    if not args.labels and not has_json:
        raise UserError(
            f"{given[0]} belongs to own data, which is named by --train-data and --val-data, or in "
            "parts: a detector takes --train-json, --val-json and --images, a segmentor --images "
            "and --labels, a panoptic model all of them."
        )
    if not args.images:
        raise UserError(f"{given[0]} needs --images, the folder of the images.")
    if has_json:
        return _with_jsons(args, splits)
    return _with_labels(args, splits)


def _with_data(args: argparse.Namespace, splits: tuple[str, ...]) -> OwnData:
    """Data in any format; a split that is not named is looked for in the training data."""
    for other in ("train_json", "val_json", "labels"):
        if vars(args)[other]:
            flag = other.replace("_", "-")
            raise UserError(f"--{flag} and --train-data name the data twice: give one of them.")
    if "train" in splits and not args.train_data:
        raise UserError("--val-data needs --train-data beside it, the data to train on.")
    folders = _folders("--images", args.images) if args.images else [None]
    sources: dict[str, tuple[Path | None, Path]] = {}
    if args.train_data and ("train" in splits or not args.val_data):
        sources["train"] = (folders[0], _path("--train-data", args.train_data))
    if args.val_data:
        path = _path("--val-data", args.val_data)
        sources |= {split: (folders[-1], path) for split in splits if split != "train"}
    return OwnData(None, sources, **_label_settings(args))


def _lists(args: argparse.Namespace, splits: tuple[str, ...]) -> dict[str, Path]:
    named = {
        split: f"{FOLDERS[split]}_list" for split in splits if vars(args)[f"{FOLDERS[split]}_list"]
    }
    return {
        split: _file("--" + flag.replace("_", "-"), vars(args)[flag])
        for split, flag in named.items()
    }


def _share(args: argparse.Namespace) -> float | None:
    share = args.val_share
    if share is not None and not 0 < share < 1:
        raise UserError(f"--split takes a share between 0 and 1, such as 0.2, got {share:g}.")
    given = [name for name in VALIDATION if vars(args)[name]]
    if share is not None and given:
        raise UserError(
            "--split takes validation data from the training data: leave out "
            f"{' and '.join('--' + name.replace('_', '-') for name in given)}."
        )
    if args.group_by and share is None:
        raise UserError("--group-by belongs to --split SHARE: give both.")
    return share


def _pattern(args: argparse.Namespace) -> str | None:
    if not args.group_by:
        return None
    try:
        re.compile(args.group_by)
    except re.error as error:
        raise UserError(
            f"--group-by {args.group_by!r} is no regular expression: {error}."
        ) from error
    return args.group_by


def _label_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What label images mean."""
    values = parse_mask_values(args.mask_values) if args.mask_values else None
    if values and args.reduce_zero_label:
        raise UserError(
            "--mask-values says what each value means: leave out --reduce-zero-label, or write "
            f"0={IGNORE}."
        )
    classes = _file("--classes", args.classes) if args.classes else None
    return dict(classes=classes, reduce_zero_label=args.reduce_zero_label, mask_values=values)


def _with_labels(args: argparse.Namespace, splits: tuple[str, ...]) -> OwnData:
    image_folders = _folders("--images", args.images)
    labels = _folders("--labels", args.labels)
    if (args.train_list or args.val_list) and len(image_folders) == len(labels) == 1:
        _check_lists(args, splits)
        whole = (image_folders[0], labels[0])  # the lists divide them
        sources = dict.fromkeys(_given(args, splits), whole)
        return OwnData(SEGMENTATION, sources, **_label_settings(args))
    if args.val_share is not None and all((labels[0] / side).is_dir() for side in ("train", "val")):
        refuse_own_split(labels[0])
    sources = {}
    for split in _given(args, splits):
        images = _of_split("--images", image_folders, split, _given(args, splits))
        sources[split] = (images, _of_split("--labels", labels, split, _given(args, splits)))
    return OwnData(SEGMENTATION, sources, **_label_settings(args))


def _check_lists(args: argparse.Namespace, splits: tuple[str, ...]) -> None:
    """Of images in one folder, each split that is needed has its list."""
    needed = {f"{FOLDERS[split]}_list" for split in _given(args, splits)}
    lacking = sorted(flag for flag in needed if not vars(args)[flag])
    if lacking:
        raise UserError(
            f"--{lacking[0].replace('_', '-')} is missing: of one folder of images, each split "
            "needs its list (or take a share for validation with --split 0.2)."
        )


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
    for split in _given(args, splits):
        flag, path = _json_flag(args, split)
        sources[split] = (image_folders[0 if split == "train" else -1], _file(flag, path))
    if not args.labels:
        return OwnData(DETECTION, sources)
    folders = _folders("--labels", args.labels)
    segments = {
        os.path.abspath(path): folders[0 if split == "train" else -1]
        for split, (_, path) in sources.items()
    }
    return OwnData(PANOPTIC, sources, segments=segments)


def _given(args: argparse.Namespace, splits: tuple[str, ...]) -> tuple[str, ...]:
    """The splits that are named; with ``--split`` the training data alone."""
    return ("train",) if args.val_share is not None else splits


def _json_flag(args: argparse.Namespace, split: str) -> tuple[str, str]:
    path = args.train_json if split == "train" else args.val_json
    if path:
        return f"--{FOLDERS[split]}-json", path
    given, lacking = ("val", "train") if split == "train" else ("train", "val")
    raise UserError(
        f"--{given}-json needs --{lacking}-json beside it, a COCO file (or --split 0.2)."
    )


def _file(flag: str, path: str) -> Path:
    if not Path(path).is_file():
        raise UserError(f"{flag} names {path}, which is no file.")
    return Path(path)


def _path(flag: str, path: str) -> Path:
    if not Path(path).exists():
        raise UserError(f"{flag} names {path}, which is not there.")
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
            "train/ and val/ in it, or --split 0.2 to take a part for validation, or lists "
            "of names (--train-list, --val-list)."
        )
    return folders[0]
