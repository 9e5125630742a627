"""Matching the detections of each tested image with its true objects."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

MIN_SCORE, MIN_IOU = 0.3, 0.5  # of a detection that is matched with an object


@dataclass
class TestedImage:
    """A tested image.

    Attributes:
        path: Path of the file.
        truth: COCO annotations.
        detections: COCO result dicts with at least :data:`MIN_SCORE`, in descending order.
        matches: (index in truth, index in detections); None for a missed object, or for a
            detection without an object.
        correct: Number of matches of the same class.
    """

    __test__ = False  # not a test, despite its name

    path: str
    truth: list[dict[str, Any]]
    detections: list[dict[str, Any]]
    matches: list[tuple[int | None, int | None]] = field(default_factory=list)
    correct: int = 0

    @property
    def rating(self) -> tuple[float, int]:
        """F1 of the correct detections; for equal F1, more correct and fewer wrong ones."""
        return 2 * self.correct / max(self.objects, 1), 3 * self.correct - self.objects

    @property
    def objects(self) -> int:
        """Number of true objects and of detections."""
        num_objects = sum(not annotation.get("iscrowd") for annotation in self.truth)
        return num_objects + len(self.detections)


def match_all(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], paths: dict[int, str]
) -> list[TestedImage]:
    """Matches objects and detections of all tested images.

    Args:
        truth: Content of a COCO annotation file.
        results: COCO result dicts.
        paths: Path of each tested image, by image id.
    """
    annotations, detections = defaultdict(list), defaultdict(list)
    for annotation in truth["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    for result in sorted(results, key=lambda result: -result["score"]):
        if result["score"] >= MIN_SCORE:
            detections[result["image_id"]].append(result)
    images = [TestedImage(path, annotations[key], detections[key]) for key, path in paths.items()]
    for image in images:
        image.matches = match(image.truth, image.detections)
        image.correct = sum(
            image.truth[t]["category_id"] == image.detections[d]["category_id"]
            for t, d in image.matches
            if t is not None and d is not None
        )
    return images


def match(
    truth: Sequence[dict[str, Any]], detections: Sequence[dict[str, Any]]
) -> list[tuple[int | None, int | None]]:
    """Matches each detection with the unmatched object that its box overlaps most.

    Args:
        truth: COCO annotations of an image.
        detections: COCO result dicts in descending order of their scores.

    Returns:
        Pairs of indices; None for an object without a detection, or a detection without an object.
        Crowds are never missed, and a detection in a crowd is left out.
    """
    crowds = [int(annotation.get("iscrowd", 0)) for annotation in truth]
    unmatched = {index for index, crowd in enumerate(crowds) if not crowd}
    matches: list[tuple[int | None, int | None]] = []
    overlaps = np.zeros((len(detections), len(truth)))
    if truth and detections:
        overlaps = mask_api.iou(
            [detection["bbox"] for detection in detections],
            [annotation["bbox"] for annotation in truth],
            crowds,
        )
    for index, row in enumerate(overlaps):
        best = max(unmatched, key=lambda t: row[t], default=None)
        if best is not None and row[best] >= MIN_IOU:
            unmatched.remove(best)
            matches.append((best, index))
        elif not any(crowd and row[t] >= MIN_IOU for t, crowd in enumerate(crowds)):
            matches.append((None, index))
    return matches + [(index, None) for index in sorted(unmatched)]
