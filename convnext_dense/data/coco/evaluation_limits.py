"""COCO's figures count the 100 best detections of each class in an image: where data have more."""

from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from convnext_dense.config.config_tree import evaluators
from convnext_dense.data.coco.annotation_file import AnnotationSummary

MAX_DETS = 100  # detections of a class in an image that COCO's figures count
METRIC = "CocoInstanceMetric"


def remark_limits(
    cfg: Config, split: str, summary: AnnotationSummary, classes: Sequence[str]
) -> list[str]:
    """Sentences where an evaluation cannot count all objects, or all detections.

    Args:
        cfg: A config.
        split: ``val`` or ``test``.
        summary: The file that is evaluated on.
        classes: The classes of the model.
    """
    returned = _returned(cfg)
    counted = [
        evaluator.get("max_dets") or MAX_DETS
        for evaluator in evaluators(cfg, split)
        if evaluator.get("type") == METRIC
    ]
    if not counted:
        return []
    of_class, of_image = _most_objects(summary, classes)
    remarks, limit = [], max(counted)
    if (most := max(of_class, default=0)) > limit:
        images = sum(count > limit for count in of_class)
        remarks.append(
            f"{summary.path}: {images} times an image has more than {limit} objects of a class (at "
            f"most {most:,}), and the figures count {limit} detections of each class in an image: "
            f"to count more, beside COCO's figures, {_advice(split, most, returned)}."
        )
    elif returned is not None and (most := max(of_image, default=0)) > returned:
        remarks.append(
            f"{summary.path}: {sum(count > returned for count in of_image)} images have more than "
            f"{returned} objects (at most {most:,}), and the model returns {returned} at most: "
            f"--cfg-options {_keep(most)} lifts that."
        )
    if returned is not None and returned > limit and not remarks:
        remarks.append(
            f"The model returns up to {returned:,} objects of an image (max_per_img), and the "
            f"figures count {limit} of each class: {_advice(split, returned, returned)} counts "
            "them all, beside COCO's figures."
        )
    return remarks


def _returned(cfg: Config) -> int | None:
    """Objects of an image that the model returns at most; None where its config does not say."""
    settings = cfg.model.get("test_cfg") or {}
    most = (settings.get("rcnn") or settings).get("max_per_img")
    return most if most is not None and most > 0 else None


def _most_objects(
    summary: AnnotationSummary, classes: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Objects of each class in each image that has any, and objects of each such image."""
    known = [label for label, name in enumerate(summary.classes) if name in classes]
    found = summary.instances
    used = ~found.crowd & np.isin(found.labels, known)
    pairs = np.stack([found.images[used], found.labels[used]], axis=1)
    of_class = np.unique(pairs, axis=0, return_counts=True)[1]
    of_image = np.unique(pairs[:, 0], return_counts=True)[1]
    return of_class.tolist(), of_image.tolist()


def _advice(split: str, most: int, returned: int | None) -> str:
    keep = f" {_keep(most)}" if returned is not None and returned < most else ""
    return f"--cfg-options {split}_evaluator.max_dets={most}{keep}"


def _keep(most: int) -> str:
    return f"model.test_cfg.rcnn.max_per_img={most}"
