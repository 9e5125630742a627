"""Overlaps of upright boxes (x1, y1, x2, y2)."""

import torch
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32

IOU, IOF = 0, 1


@torch.no_grad()
def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Fill `ious` (M, N), or (M,) if aligned, with the overlaps of (M, 4) and (N, 4) boxes.

    Args:
        mode: 0 intersection over union, 1 over the area of the first box.
        aligned: whether to compare box i with box i alone.
        offset: what is added to each width and height, 0 or 1.
    """
    one, other = at_least_float32(bboxes1, bboxes2)
    if not aligned:
        one = one[:, None]
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    intersection = (high - low + offset).clamp(min=0).prod(dim=-1)
    area, other_area = ((box[..., 2:] - box[..., :2] + offset).prod(dim=-1) for box in (one, other))
    ious.copy_(intersection / (area + other_area - intersection if mode == IOU else area))
