"""nms, soft-NMS and nms_match against the compiled mmcv and against loops over boxes."""

import numpy as np
import pytest
import torch

ops = pytest.importorskip("mmcv.ops")


def assert_dets(found, dets, inds):
    assert found[1].tolist() == inds.tolist()
    torch.testing.assert_close(found[0].cpu(), dets, rtol=0, atol=1e-5)


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_compiled_mmcv(parity, device, offset):
    name = f"nms/offset{offset}"
    boxes, scores = parity("boxes").to(device), parity("scores").to(device)
    found = ops.nms(boxes, scores, 0.5, offset=offset)
    assert_dets(found, parity(f"{name}/dets"), parity(f"{name}/inds"))


@pytest.mark.parametrize(
    "limits", [{"max_num": 20, "score_threshold": 0.3}, {"score_threshold": 0.85}]
)
def test_nms_with_score_threshold_equals_compiled_mmcv(parity, device, limits):
    # The file does not tell how its 20 boxes were limited; both ways give the same ones.
    found = ops.nms(parity("boxes").to(device), parity("scores").to(device), 0.3, **limits)
    assert_dets(found, parity("nms/thr/dets"), parity("nms/thr/inds"))


def test_batched_nms_equals_compiled_mmcv(parity, device):
    inputs = [parity(name).to(device) for name in ("boxes", "scores", "labels")]
    found = ops.batched_nms(*inputs, {"type": "nms", "iou_threshold": 0.5})
    assert_dets(found, parity("batched_nms/dets"), parity("batched_nms/inds"))


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_compiled_mmcv(parity, device, method):
    boxes, scores = parity("boxes").to(device), parity("scores").to(device)
    found = ops.soft_nms(boxes, scores, 0.5, sigma=0.5, min_score=1e-3, method=method)
    assert_dets(found, parity(f"soft_nms/{method}/dets"), parity(f"soft_nms/{method}/inds"))


def grid_boxes(random, count=120):
    """Boxes with small integer coordinates: many duplicates, and many IoUs equal to a threshold."""
    corners = torch.randint(0, 8, (count, 2), generator=random)
    sizes = torch.randint(1, 6, (count, 2), generator=random)
    boxes = torch.cat([corners, corners + sizes], dim=1).float()
    scores = torch.randint(1, 30, (count,), generator=random) / 30
    return boxes, scores


def iou_of(one, other, offset):
    """IoU in float32, like mmcv."""
    one, other, offset = np.float32(one), np.float32(other), np.float32(offset)
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    shared = np.prod(np.maximum(high - low + offset, np.float32(0)))
    area, other_area = (np.prod(box[2:4] - box[:2] + offset) for box in (one, other))
    return shared / (area + other_area - shared)


def nms_by_loop(boxes, scores, threshold, offset):
    order = np.argsort(-scores.numpy(), kind="stable")
    kept = []
    for i in order:
        overlaps = [iou_of(boxes[k].numpy(), boxes[i].numpy(), offset) for k in kept]
        if not any(iou > np.float32(threshold) for iou in overlaps):
            kept.append(i)
    return [int(i) for i in kept]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7])
def test_nms_decides_ties_like_mmcv(random, threshold, offset):
    boxes, scores = grid_boxes(random)
    found = ops.nms(boxes, scores, threshold, offset=offset)[1]
    assert found.tolist() == nms_by_loop(boxes, scores, threshold, offset)


def test_threshold_itself_is_not_suppressed():
    """The IoU is 3/10, which as a float32 exceeds the double 0.3 but not the float32 0.3."""
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]])
    assert ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.3)[1].tolist() == [0, 1]


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_on_random_boxes(random, offset):
    boxes = torch.rand(150, 4, generator=random) * 50
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(150, generator=random)
    found = ops.nms(boxes, scores, 0.4, offset=offset)[1]
    assert found.tolist() == nms_by_loop(boxes, scores, 0.4, offset)


def soft_nms_by_loop(boxes, scores, threshold, sigma, min_score, method, offset):
    """Bodla et al., figure 2, in mmcv's order: best first, the last replaces a dropped one."""
    rows = [[box, score, i] for i, (box, score) in enumerate(zip(boxes, scores, strict=True))]
    done = 0
    while done < len(rows):
        best = max(range(done, len(rows)), key=lambda k: rows[k][1])
        rows[done], rows[best] = rows[best], rows[done]
        k = done + 1
        while k < len(rows):
            iou = iou_of(rows[done][0], rows[k][0], offset)
            over = iou >= np.float32(threshold)
            weight = {
                "naive": np.float32(0) if over else np.float32(1),
                "linear": 1 - iou if over else np.float32(1),
                "gaussian": np.exp(-(iou * iou) / np.float32(sigma)),
            }[method]
            rows[k][1] = rows[k][1] * weight
            if rows[k][1] < np.float32(min_score):
                rows[k] = rows[-1]
                rows.pop()
            else:
                k += 1
        done += 1
    return [row[2] for row in rows], [float(row[1]) for row in rows]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_the_loop(random, method, offset):
    boxes, scores = grid_boxes(random, count=60)
    arguments = (0.3, 0.4, 0.05, method, offset)
    dets, inds = ops.soft_nms(boxes, scores, *arguments)
    by_loop, lowered = soft_nms_by_loop(boxes.numpy(), scores.numpy(), *arguments)
    assert len(inds) < 60
    assert inds.tolist() == by_loop
    torch.testing.assert_close(dets[:, 4], torch.tensor(lowered))
    torch.testing.assert_close(dets[:, :4], boxes[inds])


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_nms_match_groups(random, threshold):
    boxes, scores = grid_boxes(random)
    boxes[::7, 2] = boxes[::7, 0]  # without area
    left = np.argsort(-scores.numpy(), kind="stable").tolist()
    expected = []
    with np.errstate(invalid="ignore"):
        while left:
            first, *others = left
            same = [
                i
                for i in others
                if iou_of(boxes[first].numpy(), boxes[i].numpy(), 0) >= np.float32(threshold)
            ]
            expected.append([first, *same])
            left = [i for i in others if i not in same]
    dets = torch.cat([boxes, scores[:, None]], dim=1)
    assert [group.tolist() for group in ops.nms_match(dets, threshold)] == expected
    assert [group.tolist() for group in ops.nms_match(dets.numpy(), threshold)] == expected


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_decide_like_float32_of_the_same_numbers(random, device, dtype, offset):
    boxes = (torch.rand(100, 4, generator=random) * 40).to(device, dtype)
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(100, generator=random).to(device, dtype)
    plain = ops.nms(boxes.float(), scores.float(), 0.45, offset=offset)[1]
    dets, inds = ops.nms(boxes, scores, 0.45, offset=offset)
    assert inds.tolist() == plain.tolist()
    assert dets.dtype == dtype
    plain = ops.soft_nms(boxes.float(), scores.float(), 0.45, min_score=0.1, offset=offset)
    dets, inds = ops.soft_nms(boxes, scores, 0.45, min_score=0.1, offset=offset)
    assert inds.tolist() == plain[1].tolist()
    torch.testing.assert_close(dets, plain[0].to(dtype))


def test_mixed_precision(random):
    boxes = torch.rand(30, 4, generator=random) * 40
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(30, generator=random).bfloat16()
    assert (
        ops.nms(boxes, scores, 0.5)[1].tolist() == ops.nms(boxes, scores.float(), 0.5)[1].tolist()
    )


@pytest.mark.parametrize("offset", [0, 1])
def test_no_boxes(device, offset):
    boxes, scores = torch.zeros(0, 4, device=device), torch.zeros(0, device=device)
    for found in (
        ops.nms(boxes, scores, 0.5, offset=offset),
        ops.soft_nms(boxes, scores, offset=offset),
        ops.batched_nms(boxes, scores, scores.long(), None),
    ):
        assert found[0].shape == (0, 5)
        assert found[1].shape == (0,)
        assert found[1].dtype == torch.int64
    assert ops.nms_match(torch.zeros(0, 5), 0.5) == []
