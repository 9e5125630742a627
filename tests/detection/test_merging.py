"""Merging against a plain numpy reference; geometry that goes there and back."""

import itertools

import numpy as np
import pytest
import torch

from convnext_dense.detection.merge_views import Detections, Merger, flip_boxes, to_image, to_view
from convnext_dense.errors import UserError

NMS = dict(type="nms", iou_threshold=0.5)
SOFT = dict(type="soft_nms", iou_threshold=0.3, min_score=0.05, method="linear")


def random_views(seed: int, views: int = 4) -> list[Detections]:
    """Jittered copies of the same boxes; scores of two digits, so ties occur."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 80, (9, 2))
    base = np.concatenate([corners, corners + rng.uniform(8, 60, (9, 2))], axis=1)
    labels = rng.integers(0, 3, 9)
    return [
        Detections(
            torch.from_numpy(base + rng.normal(0, 2, base.shape)),
            torch.from_numpy(rng.uniform(0, 1, 9).round(1).astype(np.float32)),
            torch.from_numpy(labels),
        )
        for _ in range(views)
    ]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def reference(found, score_thr: float, limit: int, soft: bool) -> list[tuple]:
    """Greedy suppression with two plain loops: rows of (score, label, box), best first."""
    rows = [
        [float(s), int(k), tuple(b.tolist())]
        for view in found
        for b, s, k in zip(*view, strict=True)
        if s > score_thr
    ]
    kept = []
    while rows:
        best = min(rows, key=lambda row: (-row[0], row[1], row[2]))
        rows.remove(best)
        kept.append(tuple(best))
        for row in rows:
            if row[1] == best[1]:
                overlap = iou(np.array(row[2]), np.array(best[2]))
                if soft and overlap >= SOFT["iou_threshold"]:
                    row[0] *= 1 - overlap
                elif not soft and overlap > NMS["iou_threshold"]:
                    row[0] = -1.0
        rows = [row for row in rows if row[0] >= (SOFT["min_score"] if soft else 0)]
    return kept[:limit]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_a_plain_reference(seed, soft):
    found = random_views(seed)
    merged = Merger(0.15, SOFT if soft else NMS, 8)(found)
    expected = reference(found, 0.15, 8, soft)
    assert len(expected) == 8  # the limit cuts
    assert merged.labels.tolist() == [row[1] for row in expected]
    assert merged.scores.tolist() == pytest.approx([row[0] for row in expected], abs=1e-6)
    assert merged.boxes.tolist() == [list(row[2]) for row in expected]


@pytest.mark.parametrize("nms", [NMS, SOFT])
def test_the_order_of_views_and_detections_does_not_matter(nms):
    found = random_views(7, views=3)
    # equal scores and touching boxes: only the order could decide
    found[0] = found[0]._replace(scores=torch.full((9,), 0.5))
    found[2] = found[2]._replace(scores=torch.full((9,), 0.5))
    merger = Merger(0.05, nms, 10)
    expected = merger(found)
    for order in itertools.permutations(range(3)):
        shuffled = [found[i] for i in order]
        turned = torch.randperm(9, generator=torch.Generator().manual_seed(order[0]))
        shuffled[0] = Detections(*(values[turned] for values in shuffled[0]))
        for one, other in zip(merger(shuffled), expected, strict=True):
            assert torch.equal(one, other)


def test_one_view_is_left_as_it_is():
    (found,) = random_views(1, views=1)
    assert Merger(0.9, SOFT, 2)([found]) is found


def test_no_detections():
    none = Detections(torch.zeros(0, 4).double(), torch.zeros(0), torch.zeros(0).long())
    merged = Merger(0.05, NMS, 100)([none, none])
    assert merged.boxes.shape == (0, 4) and len(merged.scores) == len(merged.labels) == 0


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_come_back_bit_by_bit(flip):
    boxes = torch.rand(5000, 4, generator=torch.Generator().manual_seed(0)) * 1333
    factor = (1333 / 641, 800 / 427)
    there = to_image(boxes, factor, 641, flip)
    assert torch.equal(to_view(there, factor, 641, flip), boxes)
    plain = boxes / torch.tensor(factor).repeat(2)  # mmdet's way, in float32
    assert torch.equal((flip_boxes(there, 641) if flip else there).float(), plain)


def test_a_flipped_box():
    box = torch.tensor([[10.0, 20.0, 30.0, 50.0]])
    assert to_image(box, (2.0, 5.0), 100, True).tolist() == [[85.0, 4.0, 95.0, 10.0]]


@pytest.mark.parametrize(
    ("nms", "message"),
    [
        (dict(type="fast", iou_threshold=0.5), "one of nms, soft_nms, got 'fast'"),
        (dict(iou_threshold=0.5), "got None"),
        (dict(type="nms", iou_thr=0.5, sigma=3), "does not fit nms"),
        (dict(type="soft_nms", method="cubic"), "does not fit soft_nms"),
    ],
)
def test_wrong_settings_are_named(nms, message):
    with pytest.raises(UserError, match=message):
        Merger(0.05, nms, 100)
