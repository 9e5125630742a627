"""Non-maximum suppression of rotated boxes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from convnext_dense.ops.boxes.overlaps import IOU
from convnext_dense.ops.boxes.rotated_iou import aligned_iou
from convnext_dense.ops.precision import at_least_float32

# Pairs whose bounding boxes are compared at once.
PAIRS_AT_ONCE = 1 << 22


@torch.no_grad()
def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Greedy suppression of boxes that overlap a better one by more than `iou_threshold`.

    Labels change nothing, as in mmcv's kernels (`batched_nms` moves the classes apart). A box whose
    overlap equals the threshold stays, as mmcv documents and does on a GPU; on a CPU it drops it.

    Args:
        dets: (N, 5), or (N, 6) with labels; unused, like `scores`.
        order: (N,) the boxes' indices by falling score, int64.
        dets_sorted: the boxes in that order.

    Returns:
        Indices of the kept boxes, best first, int64.
    """
    (boxes,) = at_least_float32(dets_sorted[:, :5])
    pairs = [pairs.cpu().numpy() for pairs in _overlapping(boxes, iou_threshold)]
    kept = _greedy(len(boxes), *np.concatenate(pairs).T)
    return order[torch.from_numpy(kept).to(order.device)]


def _overlapping(boxes: Tensor, iou_threshold: float) -> Iterator[Tensor]:
    """All pairs i < j whose overlap is above the threshold, by rising i: (P, 2) in parts."""
    for part in torch.arange(len(boxes), device=boxes.device).split(
        max(PAIRS_AT_ONCE // max(len(boxes), 1), 1)
    ):
        pairs = _neighbours(boxes, part)
        better, worse = boxes[pairs].unbind(1)
        yield pairs[aligned_iou(better, worse, IOU) > iou_threshold]


def _neighbours(boxes: Tensor, part: Tensor) -> Tensor:
    """Pairs (P, 2) of a box of the part and a later one whose upright bounding boxes overlap."""
    cos, sin = boxes[:, 4].cos().abs(), boxes[:, 4].sin().abs()
    half_width, half_height = (boxes[:, 2:4].abs() / 2).unbind(1)
    near = torch.arange(len(boxes), device=boxes.device) > part[:, None]
    for centre, reach in (
        (boxes[:, 0], half_width * cos + half_height * sin),
        (boxes[:, 1], half_width * sin + half_height * cos),
    ):
        low, high = centre - reach, centre + reach
        near &= low[part, None] < high
        near &= low < high[part, None]
    first, second = near.nonzero().unbind(1)
    return torch.stack([part[first], second], dim=1)


def _greedy(count: int, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """Indices that stay when each one that stays removes its `worse` ones; `better` rises."""
    bounds = np.searchsorted(better, np.arange(count + 1))
    dropped = np.zeros(count, dtype=bool)
    for index in range(count):
        if not dropped[index]:
            dropped[worse[bounds[index] : bounds[index + 1]]] = True
    return np.flatnonzero(~dropped)
