"""The differences between the results of two models, as rows of a table with their tolerances."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convnext_dense.export.parity.pictures import Pictures
from convnext_dense.export.parity.truth import BOX, average_precision, mean_iou
from convnext_dense.inference.results import (
    ClassificationResult,
    DetectionResult,
    SegmentationResult,
)
from convnext_dense.inference.rle_codec import overlaps, runs_of_rle

SAME = 0.5  # overlap from which two detections of a class are the same object
SAME_PLACE = 0.1  # pixels between the edges of two boxes, which may have no area
EQUAL_SCORES = 1e-6  # some units in the last place of float32
FIGURES = {"fp32": 0.001, "fp16": 0.005, "bf16": 0.01, "int8": 0.01}  # of AP, mIoU, accuracy
SHARES = {"fp32": 0.995, "fp16": 0.98, "bf16": 0.95, "int8": 0.0}  # of equal labels

ROUNDED_MAPS = 0.25  # of feature maps in fewer bits, which no figure judges: more is a wrong graph


@dataclass(frozen=True)
class Row:
    """A figure of both models, or their difference.

    Attributes:
        what: Its name.
        torch, exported: Of each model; None for a difference.
        difference: Between them.
        allowed: The largest difference, or the least share; None where it is only shown.
        is_share: ``difference`` is a share that must not be below ``allowed``.
    """

    what: str
    difference: float
    allowed: float | None = None
    torch: float | None = None
    exported: float | None = None
    is_share: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is within its tolerance."""
        if math.isnan(self.difference):
            return False
        if self.allowed is None:
            return True
        if self.is_share:
            return self.difference >= self.allowed
        return self.difference <= self.allowed + 1e-9


def compare_detections(
    ours: Sequence[DetectionResult],
    theirs: Sequence[DetectionResult],
    pictures: Pictures,
    precision: str,
) -> list[Row]:
    """Boxes, scores, labels, masks and average precision."""
    box = score = 0.0
    overlap, same, count = 1.0, 0, 0
    for one, other in zip(ours, theirs, strict=True):
        pairs = list(_pairs(one, other))
        count += max(len(one), len(other))
        same += len(pairs) + _tied_last(one, other, pairs)
        for row, column in pairs:
            box = max(box, float(np.abs(one.boxes[row] - other.boxes[column]).max()))
            score = max(score, abs(float(one.scores[row] - other.scores[column])))
            if one.rles is not None:
                overlap = min(overlap, _mask_overlap(one.rles[row], other.rles[column]))
    rows = [
        Row("largest box shift (pixels)", box, 0.1 if precision == "fp32" else None),
        Row("largest score difference", score, 1e-3 if precision == "fp32" else None),
        Row("same object and label", same / max(1, count), SHARES[precision], is_share=True),
    ]
    if ours and ours[0].rles is not None:
        least = 0.95 if precision == "fp32" else None
        rows.append(Row("least mask overlap (IoU)", overlap, least, is_share=True))
    for name, first, second in average_precision(ours, theirs, pictures):
        # One pixel at a mask's edge can move a mask's AP on a few images; its overlap says more.
        allowed = FIGURES[precision] if name == BOX or precision == "int8" else None
        rows.append(Row(name, abs(first - second), allowed, first, second))
    return rows


def _pairs(one: DetectionResult, other: DetectionResult) -> list[tuple[int, int]]:
    """Detections of one class in the same place, each used once, the highest scores first."""
    taken: set[int] = set()
    pairs = []
    for row in range(len(one)):
        places = [
            column
            for column in np.flatnonzero(other.labels == one.labels[row]).tolist()
            if column not in taken
        ]
        if not places:
            continue
        shared = _overlaps(one.boxes[row], other.boxes[places])
        if shared.max() >= SAME:
            # Of several boxes in one place that of the nearest score.
            near = np.flatnonzero(shared >= shared.max() - 1e-3)
            scores = other.scores[np.array(places)[near]]
            best = places[int(near[np.abs(scores - one.scores[row]).argmin()])]
            taken.add(best)
            pairs.append((row, best))
    return pairs


def _tied_last(
    one: DetectionResult, other: DetectionResult, pairs: Sequence[tuple[int, int]]
) -> int:
    """Unpaired detections of each that share a class and the lowest score.

    Where more detections have one score than the limit of an image leaves room for, rounding
    decides which of them stay: boxes without area at the image's edge, for example.
    """
    if len(one) != len(other) or not len(one):
        return 0
    last = one.scores.min()
    paired = np.array(pairs, np.int64).reshape(-1, 2)
    left = []
    for column, result in enumerate((one, other)):
        tied = np.abs(result.scores - last) <= EQUAL_SCORES
        tied[paired[:, column]] = False
        left.append(Counter(result.labels[tied].tolist()))
    return (left[0] & left[1]).total()


def _mask_overlap(one: dict, other: dict) -> float:
    """IoU of two masks; of equal ones 1, also where they are empty."""
    if one["counts"] == other["counts"]:
        return 1.0
    return float(overlaps([runs_of_rle(one)], [runs_of_rle(other)])[0, 0])


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of a box with others (n,); of boxes in the same place 1, also where they have no area."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inside = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    shared = inside / np.maximum(areas - inside, 1e-9)
    return np.where(np.abs(boxes - box).max(1) <= SAME_PLACE, 1.0, shared)


def compare_labels(
    ours: Sequence[SegmentationResult],
    theirs: Sequence[SegmentationResult],
    pictures: Pictures,
    precision: str,
) -> list[Row]:
    """Labels and mean IoU."""
    same = sum(int((a.label_map == b.label_map).sum()) for a, b in zip(ours, theirs, strict=True))
    pixels = sum(a.label_map.size for a in ours)
    truth = pictures.truth or [result.label_map for result in ours]
    count = len(ours[0].classes)
    first, second = (
        mean_iou([result.label_map for result in found], truth, count) for found in (ours, theirs)
    )
    return [
        Row("equal labels", same / max(1, pixels), SHARES[precision], is_share=True),
        Row("mIoU", abs(first - second), FIGURES[precision], first, second),
    ]


def compare_classes(
    ours: Sequence[ClassificationResult],
    theirs: Sequence[ClassificationResult],
    pictures: Pictures,
    precision: str,
) -> list[Row]:
    """Classes and probabilities."""
    same = np.mean([a.label == b.label for a, b in zip(ours, theirs, strict=True)])
    apart = max(
        float(np.abs(a.probabilities - b.probabilities).max())
        for a, b in zip(ours, theirs, strict=True)
    )
    least = 1.0 if precision == "fp32" else 0.9
    return [
        Row("equal classes", float(same), least, is_share=True),
        Row("largest probability difference", apart, 1e-3 if precision == "fp32" else None),
    ]


def compare_maps(
    ours: Sequence[Sequence[np.ndarray]], theirs: Sequence[Sequence[np.ndarray]], precision: str
) -> list[Row]:
    """Feature maps, relative to their largest value."""
    rows = []
    for stage in range(len(ours[0])):
        apart = max(
            float(np.abs(a[stage] - b[stage]).max() / max(1e-6, np.abs(a[stage]).max()))
            for a, b in zip(ours, theirs, strict=True)
        )
        allowed = 1e-4 if precision == "fp32" else ROUNDED_MAPS
        rows.append(Row(f"stage {stage + 1}, relative", apart, allowed))
    return rows
