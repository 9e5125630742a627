"""The pyramid level of a region."""

import torch
from torch import Tensor


def levels_of(regions: Tensor, count: int, finest: int) -> Tensor:
    """Level (R,) of regions (R, 5), by mmdet's rule: a level for each doubling of the side."""
    side = torch.sqrt((regions[:, 3] - regions[:, 1]) * (regions[:, 4] - regions[:, 2]))
    return torch.log2(side / finest + 1e-6).floor().clamp(0, count - 1)
