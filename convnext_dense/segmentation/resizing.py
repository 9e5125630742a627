"""Bilinear resizing of score maps, a few rows at a time."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows ``start`` to ``stop`` - 1 of a picture."""

    start: int
    stop: int


def needed_rows(rows: Rows, source: int, target: int, align_corners: bool) -> Rows:
    """The rows of a map of height ``source`` that ``rows`` of height ``target`` are made from."""
    low, high, _ = _positions(rows, source, target, align_corners, torch.device("cpu"))
    return Rows(int(low[0]), int(high[-1]) + 1)


def resize_rows(
    maps: Tensor, present: Rows, source: int, rows: Rows, size: tuple[int, int], align_corners: bool
) -> Tensor:
    """Some rows of what ``F.interpolate(mode="bilinear")`` makes of a map.

    A row's values are the same, to the last bit, however many rows are asked for at once.

    Args:
        maps: (channels, rows present, width): some rows of the map.
        present: Which rows of it these are.
        source: Height of the whole map.
        rows: The wanted rows of the resized map.
        size: Height and width of the whole resized map.
        align_corners: As in ``F.interpolate``.

    Returns:
        (channels, rows, width of the resized map).
    """
    low, high, share = _positions(rows, source, size[0], align_corners, maps.device)
    share = share.to(maps.dtype)[:, None]
    upper, lower = maps[:, low - present.start], maps[:, high - present.start]
    between = upper * (1 - share) + lower * share
    width = (between.shape[1], size[1])
    return F.interpolate(between[None], width, mode="bilinear", align_corners=align_corners)[0]


def _positions(
    rows: Rows, source: int, target: int, align_corners: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each row the two source rows it lies between, and the share of the second."""
    row = torch.arange(rows.start, rows.stop, dtype=torch.float64, device=device)
    if align_corners:
        place = row * ((source - 1) / max(target - 1, 1))
    else:
        place = ((row + 0.5) * (source / target) - 0.5).clamp(min=0)
    low = place.floor().clamp(max=source - 1)
    return low.long(), (low + 1).clamp(max=source - 1).long(), place - low
