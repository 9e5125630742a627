"""Bilinear resizing of feature maps, a few rows at a time."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows ``start`` to ``stop`` - 1 of an image."""

    start: int
    stop: int


def needed_rows(rows: Rows, source: int, target: int, align_corners: bool) -> Rows:
    """Rows of a feature map of height ``source`` that ``rows`` of the resized one depend on."""
    low, high, _ = _positions(rows, source, target, align_corners, torch.device("cpu"))
    return Rows(int(low[0]), int(high[-1]) + 1)


def resize_rows(
    maps: Tensor, present: Rows, source: int, rows: Rows, size: tuple[int, int], align_corners: bool
) -> Tensor:
    """Computes some rows of ``F.interpolate(mode="bilinear")`` of a feature map.

    The values of a row do not depend, bit by bit, on how many rows are computed at once.

    Args:
        maps: (channels, rows present, width): some rows of the feature map.
        present: The numbers of these rows.
        source: Height of the whole feature map.
        rows: The requested rows of the resized feature map.
        size: Height and width of the whole resized feature map.
        align_corners: As in ``F.interpolate``.

    Returns:
        (channels, rows, width of the resized feature map).
    """
    low, high, weight = _positions(rows, source, size[0], align_corners, maps.device)
    weight = weight.to(maps.dtype)[:, None]
    upper, lower = maps[:, low - present.start], maps[:, high - present.start]
    interpolated = upper * (1 - weight) + lower * weight
    width = (interpolated.shape[1], size[1])
    return F.interpolate(interpolated[None], width, mode="bilinear", align_corners=align_corners)[0]


def _positions(
    rows: Rows, source: int, target: int, align_corners: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each row, the two neighbouring source rows and the weight of the second."""
    row = torch.arange(rows.start, rows.stop, dtype=torch.float64, device=device)
    if align_corners:
        position = row * ((source - 1) / max(target - 1, 1))
    else:
        position = ((row + 0.5) * (source / target) - 0.5).clamp(min=0)
    low = position.floor().clamp(max=source - 1)
    return low.long(), (low + 1).clamp(max=source - 1).long(), position - low
