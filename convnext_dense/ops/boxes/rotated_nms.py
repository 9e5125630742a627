"""Non-maximum suppression of rotated boxes."""

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
    better, worse = _neighbours(boxes)
    if len(better):
        overlapping = aligned_iou(boxes[better], boxes[worse], IOU) > iou_threshold
        better, worse = better[overlapping], worse[overlapping]
    kept = _greedy(len(boxes), better.cpu().numpy(), worse.cpu().numpy())
    return order[torch.from_numpy(kept).to(order.device)]


def _neighbours(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of all pairs i < j whose upright bounding boxes overlap, by rising i."""
    cos, sin = boxes[:, 4].cos().abs(), boxes[:, 4].sin().abs()
    half_width, half_height = boxes[:, 2:4].abs().unbind(1)
    extents = half_width * cos + half_height * sin, half_width * sin + half_height * cos
    pairs = []
    step = max(PAIRS_AT_ONCE // max(len(boxes), 1), 1)
    for begin in range(0, len(boxes), step):
        part = slice(begin, begin + step)
        close = [
            2 * (centre[part, None] - centre).abs() < extent[part, None] + extent
            for centre, extent in zip(boxes[:, :2].unbind(1), extents, strict=True)
        ]
        pairs.append(
            (close[0] & close[1]).triu(begin + 1).nonzero() + boxes.new_tensor([begin, 0]).long()
        )
    return torch.cat(pairs).unbind(1) if pairs else (boxes.new_zeros(0).long(),) * 2


def _greedy(count: int, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """Indices that stay when each one that stays removes its `worse` ones; `better` rises."""
    bounds = np.searchsorted(better, np.arange(count + 1))
    dropped = np.zeros(count, dtype=bool)
    for index in range(count):
        if not dropped[index]:
            dropped[worse[bounds[index] : bounds[index + 1]]] = True
    return np.flatnonzero(~dropped)
