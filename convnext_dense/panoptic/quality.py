"""Panoptic quality: the segments of an image compared with the true ones, and the figures of many.

Kirillov et al., Panoptic Segmentation, https://arxiv.org/abs/1801.00868: of each class PQ = SQ RQ,
where SQ is the mean IoU of matched segments and RQ their share, TP / (TP + FP/2 + FN/2). A true
and a predicted segment of one class match where their IoU is above 0.5; no segment can then match
two. What is ignored, and how, is COCO's definition as its panopticapi computes it; the tests
compare with that computation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from convnext_dense.data.panoptic.segments import MOST_IDS, VOID

MATCH, IGNORED = 0.5, 0.5  # least IoU of a match; share of a segment on what is not rated
COLUMNS = ("tp", "fp", "fn", "iou")  # iou: the sum over the matches


@dataclass(frozen=True)
class Segments:
    """The segments of an image.

    Attributes:
        ids: The id of each pixel's segment, int (height, width); 0 belongs to none.
        labels: The class of each segment by its id.
        crowds: Ids of segments that stand for many objects, or for none in particular.
    """

    ids: np.ndarray
    labels: Mapping[int, int]
    crowds: frozenset[int] = frozenset()


def compare_segments(truth: Segments, predicted: Segments, num_classes: int) -> np.ndarray:
    """Counts of one image, float64 (classes, 4), whose columns are ``COLUMNS``.

    Pixels without a true segment are not rated: they are left out of the union of two segments. A
    predicted segment without a match is no error where more than half of it lies on such pixels and
    on the crowd of its class; a crowd itself is never missed.
    """
    counts = np.zeros((num_classes, len(COLUMNS)))
    tp, fp, fn, iou_sum = range(len(COLUMNS))
    pairs = truth.ids.astype(np.int64) * MOST_IDS + predicted.ids.astype(np.int64)
    values, pixels = np.unique(pairs, return_counts=True)
    shared = {
        (int(value // MOST_IDS), int(value % MOST_IDS)): int(count)
        for value, count in zip(values, pixels, strict=True)
    }
    true_areas, predicted_areas = _sums(shared, 0), _sums(shared, 1)
    matched, explained = set(), set()  # true and predicted segments that have a match
    for (true, found), common in shared.items():
        label = truth.labels.get(true)
        if label is None or true in truth.crowds or label != predicted.labels.get(found):
            continue
        union = true_areas[true] + predicted_areas[found] - common - shared.get((VOID, found), 0)
        if common / union > MATCH:
            counts[label, tp] += 1
            counts[label, iou_sum] += common / union
            matched.add(true)
            explained.add(found)
    crowd_of = {truth.labels[true]: true for true in truth.labels if true in truth.crowds}
    for true, label in truth.labels.items():
        if true not in truth.crowds and true not in matched:
            counts[label, fn] += 1
    for found, label in predicted.labels.items():
        if found in explained:
            continue
        unrated = shared.get((VOID, found), 0)
        if label in crowd_of:
            unrated += shared.get((crowd_of[label], found), 0)
        if unrated / predicted_areas[found] <= IGNORED:
            counts[label, fp] += 1
    return counts


def _sums(shared: Mapping[tuple[int, int], int], place: int) -> dict[int, int]:
    """Pixels of each segment of one side."""
    sums: dict[int, int] = {}
    for pair, count in shared.items():
        sums[pair[place]] = sums.get(pair[place], 0) + count
    return sums


def quality_of_classes(counts: np.ndarray) -> np.ndarray:
    """PQ, SQ and RQ of each class, float64 (classes, 3); nan for a class that does not occur.

    Args:
        counts: Sums of :func:`compare_segments` over all images.
    """
    tp, fp, fn, iou_sum = counts.T
    rated = tp + fp / 2 + fn / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(tp > 0, iou_sum / tp, 0)
        quality = np.stack([iou_sum / rated, found, tp / rated], axis=1)
    quality[rated == 0] = np.nan
    return quality


def mean_quality(quality: np.ndarray) -> np.ndarray:
    """The mean of PQ, SQ and RQ over the classes that occur, float64 (3,); nan where none does."""
    occurring = quality[~np.isnan(quality[:, 0])]
    return occurring.mean(axis=0) if len(occurring) else np.full(3, np.nan)
