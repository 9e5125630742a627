"""Overlaps of rotated boxes (x, y, width, height, angle).

The angle is in radians; it turns x towards y (clockwise in an image). The intersection comes from
one formula without a search for corners: in the frame of the second box, at each x, the first box
covers `clamp(top) - clamp(bottom)` of the second one's height, so the area is the sum over the
first box's edges of the integral of `clamp(y)` over x. It is exact, and continuous where edges or
corners coincide, where lists of intersection points need tolerances.
"""

import torch
from torch import Tensor

from convnext_dense.ops.boxes.overlaps import IOU
from convnext_dense.ops.precision import at_least_float32

# Pairs compared at once; about 15 temporary tensors with 4 edges of each exist at a time.
PAIRS_AT_ONCE = 1 << 18
# Boxes with less area overlap nothing, as in mmcv.
SMALLEST_AREA = 1e-14


@torch.no_grad()
def box_iou_rotated(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Fill `ious` with the overlaps of (M, 5) and (N, 5) boxes: M * N values, or M if aligned.

    Args:
        mode_flag: 0 intersection over union, 1 over the area of the first box.
        aligned: whether to compare box i with box i alone.
    """
    one, other = at_least_float32(boxes1, boxes2)
    if aligned:
        ious.copy_(aligned_iou(one, other, mode_flag))
    elif ious.numel():
        step = max(PAIRS_AT_ONCE // len(other), 1)
        parts = [rotated_iou(part[:, None], other, mode_flag) for part in one.split(step)]
        ious.copy_(torch.cat(parts).view(ious.shape))


def aligned_iou(one: Tensor, other: Tensor, mode: int) -> Tensor:
    """Overlaps (M,) of boxes (M, 5) with boxes (M, 5)."""
    parts = zip(one.split(PAIRS_AT_ONCE), other.split(PAIRS_AT_ONCE), strict=True)
    return torch.cat([rotated_iou(*pair, mode) for pair in parts])


def rotated_iou(one: Tensor, other: Tensor, mode: int) -> Tensor:
    """Overlaps (...) of boxes (..., 5), which are broadcast."""
    intersection = _intersection(one, other)
    area, other_area = (box[..., 2] * box[..., 3] for box in (one, other))
    overlap = intersection / (area + other_area - intersection if mode == IOU else area)
    return overlap.masked_fill((area < SMALLEST_AREA) | (other_area < SMALLEST_AREA), 0)


def _intersection(one: Tensor, other: Tensor) -> Tensor:
    """Area (...) shared by boxes (..., 5)."""
    x, y = _corners_in_frame(one, other)
    half_width, half_height = (other[..., 2:4].abs() / 2).split(1, dim=-1)
    next_x, next_y = x.roll(-1, dims=-1), y.roll(-1, dims=-1)
    # The part of each edge between the second box's left and right sides.
    begin_x, end_x = (at.clamp(-half_width, half_width) for at in (x, next_x))
    begin_y = torch.lerp(y, next_y, _fraction(begin_x - x, next_x - x))
    end_y = torch.lerp(y, next_y, _fraction(end_x - x, next_x - x))
    # clamp(y) has the value of the beginning up to its first bend, that of the end from its second
    # on, and is linear between: its mean weighs the two by where the middle of the bends lies.
    bends = [_fraction(at - begin_y, end_y - begin_y) for at in (-half_height, half_height)]
    begin, end = (y.clamp(-half_height, half_height) for y in (begin_y, end_y))
    mean = torch.lerp(end, begin, (bends[0] + bends[1]) / 2)
    # The corners' order goes along the smaller y first: the sum is the negative area.
    return (mean * (begin_x - end_x)).sum(dim=-1).clamp(min=0)


def _corners_in_frame(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (..., 4) of the first box's corners where the second is upright and centred."""
    dx, dy = one[..., 0] - other[..., 0], one[..., 1] - other[..., 1]
    cos, sin = other[..., 4].cos(), other[..., 4].sin()
    centre_x, centre_y = dx * cos + dy * sin, dy * cos - dx * sin
    turn = one[..., 4] - other[..., 4]
    cos, sin = turn.cos()[..., None], turn.sin()[..., None]
    half_width, half_height = (one[..., 2:4].abs() / 2).split(1, dim=-1)
    right = half_width * one.new_tensor([-1, 1, 1, -1])
    down = half_height * one.new_tensor([-1, -1, 1, 1])
    return (
        centre_x[..., None] + right * cos - down * sin,
        centre_y[..., None] + right * sin + down * cos,
    )


def _fraction(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole`, between 0 and 1; 0 for an edge without extent, whatever part of it."""
    return (part / whole).clamp(0, 1).nan_to_num(0)
