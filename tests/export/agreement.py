"""What equal results are, for tests: rows of two models may differ in the last digits alone."""

from typing import Any

import numpy as np

from convnext_dense.inference.results import DetectionResult

PIXELS, SCORE, OVERLAP = 0.01, 1e-4, 0.95


def pair_rows(expected: Any, found: Any) -> list[tuple[int, int]]:
    """The rows of equal objects: scores, labels and boxes; near scores may change their order."""
    assert len(found.scores) == len(expected.scores)
    left, pairs = list(range(len(found.scores))), []
    for row, score in enumerate(expected.scores):
        near = [
            other
            for other in left
            if found.labels[other] == expected.labels[row]
            and abs(found.scores[other] - score) < SCORE
            and np.abs(found.boxes[other] - expected.boxes[row]).max() < PIXELS
        ]
        assert near, f"row {row}: {expected.boxes[row]}, label {expected.labels[row]}"
        left.remove(near[0])
        pairs.append((row, near[0]))
    return pairs


def check_detections(expected: DetectionResult, found: DetectionResult) -> None:
    """The same objects with the same masks."""
    assert found.size == expected.size
    for row, other in pair_rows(expected, found):
        one, two = expected.masks[row], found.masks[other]
        assert (one & two).sum() >= OVERLAP * (one | two).sum() - 1
