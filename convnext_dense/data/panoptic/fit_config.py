"""Fits a panoptic config to its annotation files: classes, things and stuff, heads, evaluators."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from convnext_dense.config.config_tree import SPLITS, datasets, evaluators
from convnext_dense.data.class_names import remark_absent
from convnext_dense.data.coco.compare_classes import check_known
from convnext_dense.data.coco.find_images import SHOWN, check_images_exist, missing_images
from convnext_dense.data.coco.fit_config import annotation_path, image_folder
from convnext_dense.data.head_classes import check_head_weights, set_num_classes
from convnext_dense.data.panoptic.annotation_file import (
    PanopticSummary,
    count_segments,
    read_panoptic,
    trained_images,
)
from convnext_dense.errors import UserError

DATASET, METRIC = "PanopticDataset", "PanopticQualityMetric"


def panoptic_datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The panoptic datasets of a split."""
    return [data for data in datasets(cfg, split) if data.get("type") == DATASET]


def segments_folder(dataset: ConfigDict) -> str:
    """Full path of the folder of a dataset's PNGs of segments."""
    return os.path.join(dataset.data_root, dataset.get("data_prefix", {}).get("seg", ""))


def fit_to_panoptic(
    cfg: Config, splits: Sequence[str], classes: tuple[str, ...] | None = None
) -> None:
    """Sets classes, the heads' numbers of things and stuff, and the evaluators' files.

    Args:
        cfg: A config whose datasets have full paths; changed in place.
        splits: The splits whose annotation files are read.
        classes: The class names that a checkpoint was trained with, in its order. By default those
            that the config fixes, else those of the first split's file, things first.

    Raises:
        UserError: For a missing or malformed file, missing images or PNGs, classes that only one of
            two files has or that are things in one and stuff in the other, and heads that were
            built for other numbers.
    """
    found = {
        split: [read_panoptic(annotation_path(data)) for data in panoptic_datasets(cfg, split)]
        for split in splits
    }
    known = [summary for of_split in found.values() for summary in of_split]
    if not known:
        return
    first = known[0]
    chosen = classes or _fixed_classes(cfg)
    classes = classes or _things_first(chosen or first.classes, first)
    things = tuple(name for name in classes if name in first.things)
    stuff = classes[len(things) :]
    for split, of_split in found.items():
        for dataset, summary in zip(panoptic_datasets(cfg, split), of_split, strict=True):
            _check_files(dataset, summary)
            _check_classes(classes, things, summary, chosen is None, first)
            dataset.metainfo = dict(classes=classes, thing_classes=things, stuff_classes=stuff)
            if split == "train":
                _check_trainable(summary, things, dataset.get("filter_cfg"))
            for evaluator in evaluators(cfg, split):
                if evaluator.get("type") == METRIC:
                    evaluator.update(ann_file=summary.path, segments=segments_folder(dataset))
    set_num_classes(cfg.model, len(things), first.path, stuff=len(stuff))
    check_head_weights(cfg.model, things, stuff)


def _things_first(names: Sequence[str], summary: PanopticSummary) -> tuple[str, ...]:
    check_known(names, summary)
    return tuple(name for name in summary.classes if name in names)


def _fixed_classes(cfg: Config) -> tuple[str, ...] | None:
    for split in SPLITS:
        for data in panoptic_datasets(cfg, split):
            if "classes" in data.get("metainfo", {}):
                return tuple(data.metainfo["classes"])
    return None


def _check_files(dataset: ConfigDict, summary: PanopticSummary) -> None:
    """Refuses images and PNGs that are not there."""
    images = image_folder(dataset)
    check_images_exist(summary.path, images, [image.file_name for image in summary.images])
    folder = segments_folder(dataset)
    named = [image.png for image in summary.images if image.png is not None]
    if missing := missing_images(folder, named):
        shown = ", ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
        raise UserError(
            f"{len(missing)} of {len(named)} PNGs of segments that {summary.path} names are not in "
            f"{folder}: {shown}: copy them there, or name their folder with --labels."
        )


def _check_classes(
    classes: tuple[str, ...],
    things: tuple[str, ...],
    summary: PanopticSummary,
    all_of_them: bool,
    first: PanopticSummary,
) -> None:
    check_known(classes, summary)
    if others := [name for name in classes if (name in things) != (name in summary.things)]:
        raise UserError(
            f"{others[0]!r} is a thing in one of {first.path} and {summary.path}, and stuff in the "
            "other (isthing): give both files the same categories."
        )
    if classes[: len(things)] != things:
        raise UserError(
            f"{summary.path} says that {things[-1]!r} is a thing, and the checkpoint was trained "
            "with it as stuff (isthing): test it on data with its categories."
        )
    used = {segment.category for image in summary.images for segment in image.segments}
    if all_of_them and (extra := sorted(used - set(classes))):
        raise UserError(
            f"{summary.path} has segments of {', '.join(extra[:SHOWN])}, which {first.path} does "
            "not have: they would be neither trained nor evaluated: add the categories there."
        )


def _check_trainable(
    summary: PanopticSummary, things: tuple[str, ...], filter_cfg: Mapping[str, Any] | None
) -> None:
    """Refuses a file without a thing to train on.

    Raises:
        UserError: Names the file.
    """
    if not any(count_segments(trained_images(summary, things, filter_cfg), things).values()):
        shown = ", ".join(things[:SHOWN]) + (" ..." if len(things) > SHOWN else "")
        raise UserError(
            f"{summary.path} has no segment of a thing ({shown}) in an image that training uses: "
            "annotate some, or change filter_cfg of the dataset."
        )


def remarks_on(cfg: Config, split: str) -> list[str]:
    """What is odd in a split's files but can be trained or evaluated on, a sentence each."""
    remarks, counts = [], Counter()
    for dataset in panoptic_datasets(cfg, split):
        summary, classes = read_panoptic(annotation_path(dataset)), dataset.metainfo["classes"]
        if bare := sum(image.png is None for image in summary.images):
            use = "trained on" if split == "train" else "evaluated"
            remarks.append(
                f"{bare} of {len(summary.images)} images of {summary.path} have no annotation and "
                f"are not {use}."
            )
        if others := [name for name in summary.classes if name not in classes]:
            remarks.append(
                f"{summary.path}: segments of classes that the model does not have belong to no "
                f"class: {', '.join(others[:SHOWN])}{' ...' if len(others) > SHOWN else ''}."
            )
        if split == "train":
            images = trained_images(summary, classes, dataset.get("filter_cfg"))
            counts.update(count_segments(images, classes))
    return [*remarks, *remark_absent(counts, "segment")]
