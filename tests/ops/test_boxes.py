"""Overlaps of upright and rotated boxes, and rotated NMS: published values, shapely, loops."""

import math

import numpy as np
import pytest
import torch
import torchvision

from convnext_dense.ops.boxes import rotated_iou, rotated_nms

ops = pytest.importorskip("mmcv.ops")

# mmcv's suite: boxes (x, y, w, h, angle) and their overlaps.
ONE = [[1.0, 1, 3, 4, 0.5], [2, 2, 3, 4, 0.6], [7, 7, 8, 8, 0.4]]
OTHER = [[0.0, 2, 2, 5, 0.3], [2, 1, 3, 3, 0.5], [5, 5, 6, 7, 0.4]]
PUBLISHED = {
    "iou": [[0.3708, 0.4351, 0.0], [0.1104, 0.4487, 0.0424], [0.0, 0.0, 0.3622]],
    "iof": [[0.4959, 0.5306, 0.0], [0.1823, 0.5420, 0.1832], [0.0, 0.0, 0.4404]],
}
NMS_BOXES = [[6.0, 3, 8, 7, 0.5], [3, 6, 9, 11, 0.6], [3, 7, 10, 12, 0.3], [1, 4, 13, 7, 0.6]]
NMS_SCORES = [0.7, 0.8, 0.5, 0.9]


def random_boxes(random, count, spread=30.0):
    """Boxes (x, y, w, h, angle), thin ones too, at any angle."""
    table = torch.rand(count, 5, generator=random, dtype=torch.float64)
    scale = torch.tensor([spread, spread, 20, 20, 4 * math.pi], dtype=torch.float64)
    return table ** torch.tensor([1, 1, 2, 1, 1]) * scale - scale * torch.tensor([0, 0, 0, 0, 0.5])


def iou_by_shapely(one, other):
    """Overlaps by the polygons of GEOS."""
    shapely = pytest.importorskip("shapely")
    from shapely import affinity

    def polygon(x, y, width, height, angle):
        box = shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return affinity.rotate(box, angle, use_radians=True)

    one, other = ([polygon(*box) for box in boxes.tolist()] for boxes in (one, other))
    areas = shapely.area(shapely.intersection(np.array(one)[:, None], np.array(other)))
    return torch.from_numpy(areas / (shapely.area(one)[:, None] + shapely.area(other) - areas))


@pytest.mark.parametrize("mode", PUBLISHED)
@pytest.mark.parametrize("clockwise", [True, False])
def test_published_overlaps_of_rotated_boxes(device, mode, clockwise):
    one, other = (torch.tensor(boxes, device=device) for boxes in (ONE, OTHER))
    if not clockwise:
        one[:, 4], other[:, 4] = -one[:, 4], -other[:, 4]
    expected = torch.tensor(PUBLISHED[mode], device=device)
    found = ops.box_iou_rotated(one, other, mode, clockwise=clockwise)
    aligned = ops.box_iou_rotated(one, other, mode, aligned=True, clockwise=clockwise)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(aligned, expected.diagonal(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("pairs", [1, 1 << 18])
def test_rotated_overlaps_equal_shapely(random, device, monkeypatch, pairs):
    monkeypatch.setattr(rotated_iou, "PAIRS_AT_ONCE", pairs)
    one, other = random_boxes(random, 60), random_boxes(random, 50)
    expected = iou_by_shapely(one, other)
    assert (expected > 0).float().mean() > 0.1
    found = ops.box_iou_rotated(one.to(device), other.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    found = ops.box_iou_rotated(one.float().to(device), other.float().to(device)).cpu()
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5)
    aligned = ops.box_iou_rotated(one[:50].to(device), other.to(device), aligned=True).cpu()
    torch.testing.assert_close(aligned, expected.diagonal(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coinciding_edges(random, device, dtype):
    """Equal boxes, at all angles and far from the origin; turned by quarters; sharing an edge."""
    boxes = random_boxes(random, 200, spread=1e3).to(device, dtype)
    boxes[:, 2:4] += 1  # in a thin box the rounding of an angle near 2 pi moves the ends far
    ones = torch.ones(200, device=device, dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    turned = boxes[:, [0, 1, 3, 2, 4]] + boxes.new_tensor([0, 0, 0, 0, math.pi / 2])
    for same in (boxes, boxes + boxes.new_tensor([0, 0, 0, 0, math.pi]), turned):
        overlap = ops.box_iou_rotated(boxes, same, aligned=True)
        torch.testing.assert_close(overlap, ones, rtol=0, atol=tolerance)
    upright = boxes * boxes.new_tensor([1, 1, 1, 1, 0])
    beside, half = upright.clone(), upright.clone()
    beside[:, 0] += upright[:, 2]
    half[:, 3] /= 2
    assert ops.box_iou_rotated(upright, beside, aligned=True).max() < tolerance * 10
    torch.testing.assert_close(
        ops.box_iou_rotated(upright, half, aligned=True), ones / 2, rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_boxes_without_area_overlap_nothing(device, mode):
    boxes = torch.tensor([[5.0, 5, 0, 4, 0.3], [5, 5, 4, 0, 0], [5, 5, 4, 4, 0.1]], device=device)
    expected = torch.zeros(3, 3, device=device)
    expected[2, 2] = 1
    torch.testing.assert_close(ops.box_iou_rotated(boxes, boxes, mode), expected)


def test_no_boxes(device):
    none, some = torch.zeros(0, 5, device=device), torch.rand(3, 5, device=device)
    assert ops.box_iou_rotated(none, some).shape == (0, 3)
    assert ops.box_iou_rotated(some, none).shape == (3, 0)
    assert ops.box_iou_rotated(none, none, aligned=True).shape == (0,)
    assert ops.bbox_overlaps(none[:, :4], some[:, :4]).shape == (0, 3)


@pytest.mark.parametrize("labels", [None, [1.0, 0, 1, 0]])
def test_published_rotated_nms(device, labels):
    boxes, scores = torch.tensor(NMS_BOXES, device=device), torch.tensor(NMS_SCORES, device=device)
    labels = None if labels is None else torch.tensor(labels, device=device)
    dets, keep = ops.nms_rotated(boxes, scores, 0.5, labels)
    assert keep.tolist() == [3, 1, 0]
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], dim=1)[keep])


@pytest.mark.parametrize("pairs", [1, 1 << 22])
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_rotated_nms_equals_a_loop(random, device, monkeypatch, threshold, pairs):
    monkeypatch.setattr(rotated_nms, "PAIRS_AT_ONCE", pairs)
    boxes, scores = random_boxes(random, 150), torch.rand(150, generator=random).double()
    overlaps = iou_by_shapely(boxes, boxes)
    expected = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlaps[index, better] <= threshold for better in expected):
            expected.append(index)
    assert 10 < len(expected) < 140
    dets, keep = ops.nms_rotated(boxes.to(device), scores.to(device), threshold)
    assert keep.tolist() == expected
    flipped = boxes.to(device) * boxes.new_tensor([1, 1, 1, 1, -1]).to(device)
    _, keep = ops.nms_rotated(flipped, scores.to(device), threshold, clockwise=False)
    assert keep.tolist() == expected


def test_rotated_nms_of_upright_boxes_equals_nms(random, device):
    corners = torch.rand(300, 4, generator=random) * 20
    corners[:, 2:] += corners[:, :2] + 1
    scores = torch.rand(300, generator=random)
    size = corners[:, 2:] - corners[:, :2]
    boxes = torch.cat([corners[:, :2] + size / 2, size, torch.zeros(300, 1)], dim=1)
    expected = torchvision.ops.nms(corners, scores, 0.4)
    _, keep = ops.nms_rotated(boxes.to(device), scores.to(device), 0.4)
    assert keep.tolist() == expected.tolist()


def test_batched_nms_keeps_classes_apart(random, device):
    """Equal boxes of two classes: one of each stays."""
    boxes = random_boxes(random, 1).float().repeat(6, 1).to(device)
    scores, classes = torch.rand(6, generator=random), torch.tensor([0, 1, 0, 1, 0, 1])
    config = {"type": "nms_rotated", "iou_threshold": 0.5}
    _, keep = ops.batched_nms(boxes, scores.to(device), classes.to(device), config)
    assert sorted(classes[keep.cpu()].tolist()) == [0, 1]


def test_one_rotated_box_and_a_box_that_is_not_finite(device):
    boxes = torch.tensor([[5.0, 5, 4, 4, 0.1], [5, 5, math.nan, 4, 0.1]], device=device)
    scores = torch.tensor([0.5, 0.6], device=device)
    assert ops.nms_rotated(boxes[:1], scores[:1], 0.5)[1].tolist() == [0]
    assert ops.nms_rotated(boxes, scores, 0.5)[1].tolist() == [1, 0]


# mmcv's suite: boxes, others, overlaps and whether box i is compared with box i alone; offset 1.
UPRIGHT = [[1.0, 1, 3, 4], [2, 2, 3, 4], [7, 7, 8, 8]], [[0.0, 2, 2, 5], [2, 1, 3, 3]]
PUBLISHED_UPRIGHT = [
    (*UPRIGHT, [[1 / 3, 0.5], [0.2, 0.5], [0.0, 0.0]], False),
    (UPRIGHT[0][:2], UPRIGHT[1], [1 / 3, 0.5], True),
    (
        [[0.0, 0, 3, 3]],
        [[4.0, 0, 5, 3], [3, 0, 4, 3], [2, 0, 3, 3], [1, 0, 2, 3]],
        [[0, 0.2, 0.5, 0.5]],
        False,
    ),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", PUBLISHED_UPRIGHT)
def test_published_overlaps_of_upright_boxes(device, case, dtype):
    one, other, expected = (torch.tensor(value, device=device, dtype=dtype) for value in case[:3])
    found = ops.bbox_overlaps(one, other, aligned=case[3], offset=1)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)


def test_upright_overlaps_equal_torchvision(random, device):
    corners = torch.rand(80, 4, generator=random).to(device) * 20
    corners[:, 2:] += corners[:, :2]
    one, other = corners[:50], corners[30:]
    expected = torchvision.ops.box_iou(one, other)
    torch.testing.assert_close(ops.bbox_overlaps(one, other), expected)
    areas = torchvision.ops.box_area(one)
    union = areas[:, None] + torchvision.ops.box_area(other)
    intersection = expected * union / (1 + expected)
    torch.testing.assert_close(
        ops.bbox_overlaps(one, other, mode="iof"), intersection / areas[:, None]
    )
    aligned = ops.bbox_overlaps(one, other, mode="iof", aligned=True)
    torch.testing.assert_close(aligned, (intersection / areas[:, None]).diagonal())
