"""What counts as the same detection when an exported model is compared with torch's."""

import numpy as np
import pytest

from convnext_dense.export.parity.compare import compare_detections
from convnext_dense.export.parity.pictures import Pictures
from convnext_dense.inference.base_result import Legend
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.results import DetectionResult
from convnext_dense.inference.sources import SourceImage

IMAGE = np.zeros((40, 60, 3), np.uint8)
PICTURES = Pictures([IMAGE], "drawn")


def detections(*rows: tuple[list[float], float, int]) -> list[DetectionResult]:
    """The result of one image, from (box, score, label)."""
    boxes, scores, labels = zip(*rows, strict=True)
    found = Instances(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels), None
    )
    return [DetectionResult(SourceImage(IMAGE, "drawn"), Legend(("a", "b")), found)]


def equal_share(ours: list[DetectionResult], theirs: list[DetectionResult]) -> float:
    rows = compare_detections(ours, theirs, PICTURES, "fp32")
    return next(row.difference for row in rows if row.what == "same object and label")


FIRST = ([0, 0, 20, 20], 0.9, 0)
AT_EDGE = ([60, 5, 60, 9], 0.25, 1)


@pytest.mark.parametrize(
    "other, share",
    [
        (([60, 22, 60, 30], 0.25, 1), 1.0),  # another of those with the last score
        (([60, 22, 60, 30], np.nextafter(np.float32(0.25), 1), 1), 1.0),
        (([60, 22, 60, 30], 0.2501, 1), 0.5),  # a higher score, in another place
        (([60, 22, 60, 30], 0.25, 0), 0.5),  # another class
    ],
)
def test_detections_tied_at_the_limit_are_equal(other, share):
    assert equal_share(detections(FIRST, AT_EDGE), detections(FIRST, other)) == share


def test_a_detection_more_is_no_tie():
    ours = detections(FIRST, AT_EDGE)
    assert equal_share(ours, detections(FIRST, AT_EDGE, AT_EDGE)) == pytest.approx(2 / 3)


def test_a_first_detection_in_another_place_differs():
    ours, theirs = detections(FIRST, AT_EDGE), detections(([30, 20, 50, 40], 0.9, 0), AT_EDGE)
    assert equal_share(ours, theirs) == 0.5
