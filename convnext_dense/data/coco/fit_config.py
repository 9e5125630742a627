"""Fits a detection config to its annotation files: classes, heads and the mask branch.

Class names are stated once, in the annotation file. Reading them here, before anything is built,
also catches what mmdet would drop silently: a misspelt class trains on nothing there.
"""

import difflib
import os

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from convnext_dense.config.config_tree import SPLITS, datasets, evaluators, walk
from convnext_dense.data.coco.annotation_file import (
    AnnotationSummary,
    check_trainable,
    read_summary,
)
from convnext_dense.errors import UserError

HEADS = ("bbox_head", "mask_head")


def fit_to_annotations(
    cfg: Config, splits: tuple[str, ...], classes: tuple[str, ...] | None = None
) -> None:
    """Sets classes, ``num_classes`` and the evaluators' annotation files; drops masks if none.

    Args:
        cfg: A config whose datasets have full paths; changed in place.
        splits: The splits whose annotation files are read.
        classes: The class names that a checkpoint was trained with, in its order. By default
            those that the config fixes, else those of the first split's annotation file.

    Raises:
        UserError: For a missing or malformed annotation file, an unknown class name, or heads
            that were built for another number of classes.
    """
    summaries = {
        split: [read_summary(annotation_path(data)) for data in coco_datasets(cfg, split)]
        for split in splits
    }
    known = [summary for of_one_split in summaries.values() for summary in of_one_split]
    if not known:
        return
    # A trained model's labels keep their order; the loop below checks that the file's is the same.
    classes = classes or _in_file_order(_fixed_classes(cfg), known[0])
    for line in dict.fromkeys(line for summary in known for line in summary.notes):
        print_log(line)
    for split, of_split in summaries.items():
        for dataset, summary in zip(coco_datasets(cfg, split), of_split, strict=True):
            _check_images_exist(dataset, summary)
            _check_known(classes, summary)
            _check_order(classes, summary)
            dataset.metainfo = dict(classes=classes)
            if split == "train":
                check_trainable(summary, classes, min_size(dataset))
        _set_evaluator_files(cfg, split, of_split)
    set_num_classes(cfg, len(classes), known[0].path)
    if not all(summary.has_masks for summary in known):
        # A trained model keeps its mask branch, whatever it is tested on.
        drop_mask_branch(cfg) if "train" in splits else evaluate_boxes_only(cfg)


def min_size(dataset: ConfigDict) -> int:
    """Pixels that the shorter side of a training image has at least."""
    return (dataset.get("filter_cfg") or {}).get("min_size", 0)


def annotation_path(dataset: ConfigDict) -> str:
    """Full path of a dataset's annotation file."""
    return os.path.join(dataset.data_root, dataset.ann_file)


def image_folder(dataset: ConfigDict) -> str:
    """The folder that a dataset's file names are relative to."""
    return os.path.join(dataset.data_root, dataset.get("data_prefix", {}).get("img", ""))


def _check_images_exist(dataset: ConfigDict, summary: AnnotationSummary) -> None:
    folder = image_folder(dataset)
    listings = {}  # one listing a folder: 118,000 look-ups take minutes on a network disk
    missing = []
    for name in summary.file_names:
        parent, base = os.path.split(os.path.join(folder, name))
        if parent not in listings:
            listings[parent] = set(os.listdir(parent)) if os.path.isdir(parent) else set()
        if base not in listings[parent]:
            missing.append(name)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(summary.file_names)} images of {summary.path} are not in "
            f"{folder}: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}."
        )


def coco_datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The datasets of a split that have a COCO annotation file."""
    return [data for data in datasets(cfg, split) if str(data.get("ann_file", "")).endswith("json")]


def _fixed_classes(cfg: Config) -> tuple[str, ...] | None:
    for split in SPLITS:
        for data in coco_datasets(cfg, split):
            if "classes" in data.get("metainfo", {}):
                fixed = data.metainfo["classes"]
                return (fixed,) if isinstance(fixed, str) else tuple(fixed)
    return None


def _in_file_order(classes: tuple[str, ...] | None, summary: AnnotationSummary) -> tuple[str, ...]:
    """Labels count the categories in the file's order, whatever order the classes came in."""
    if classes is None:
        return summary.classes
    _check_known(classes, summary)
    return tuple(name for name in summary.classes if name in classes)


def _check_known(classes: tuple[str, ...], summary: AnnotationSummary) -> None:
    for name in classes:
        if name not in summary.classes:
            near = difflib.get_close_matches(name, summary.classes, n=1, cutoff=0)
            raise UserError(
                f"{summary.path} has no class {name!r}; the nearest name is {near[0]!r}. It has: "
                f"{', '.join(summary.classes)}."
            )


def _check_order(classes: tuple[str, ...], summary: AnnotationSummary) -> None:
    if tuple(name for name in summary.classes if name in classes) != classes:
        raise UserError(
            f"{summary.path} lists its categories in another order than the classes "
            f"{', '.join(classes)}: give all annotation files the same order."
        )


def _set_evaluator_files(cfg: Config, split: str, found: list[AnnotationSummary]) -> None:
    for evaluator in evaluators(cfg, split):
        if evaluator.get("type") == "CocoInstanceMetric" and found:
            evaluator.ann_file = found[0].path


def set_num_classes(cfg: Config, num_classes: int, source: str) -> None:
    """Sets ``num_classes`` of every box and mask head that does not fix it.

    Raises:
        UserError: When a head fixes another number.
    """
    roi_head = cfg.model.get("roi_head", {})
    for name in HEADS:
        heads = roi_head.get(name, [])
        for head in heads if isinstance(heads, list) else [heads]:
            if head.setdefault("num_classes", num_classes) != num_classes:
                raise UserError(
                    f"model.roi_head.{name} is built for {head.num_classes} classes but {source} "
                    f"gives {num_classes}: remove num_classes from the config."
                )


def drop_mask_branch(cfg: Config) -> None:
    """Turns Mask R-CNN into Faster R-CNN: for data that has boxes only."""
    roi_head = cfg.model.get("roi_head", {})
    if roi_head.pop("mask_head", None) is not None:
        roi_head.pop("mask_roi_extractor", None)
        print_log("Without masks in the data or the checkpoint, the model has no mask branch.")
    evaluate_boxes_only(cfg)


def evaluate_boxes_only(cfg: Config) -> None:
    """Neither reads nor evaluates masks."""
    for split in SPLITS:
        for node in walk(cfg.get(f"{split}_dataloader")):
            if node.get("type") == "LoadAnnotations":
                node.with_mask = False
        for evaluator in evaluators(cfg, split):
            if evaluator.get("type") == "CocoInstanceMetric":
                evaluator.metric = ["bbox"]
