"""Common parts of RoIAlign and RoIPool: the sampling points of bins, and their maxima.

Shapes: K regions, B bins along an axis, at most G samples in a bin, C channels.
"""

import torch
from torch import Tensor

# Points (K, B, G), and a mask of the points that are used.
Axis = tuple[Tensor, Tensor]
# Values gathered at once; about 6 temporary tensors of that size exist at a time.
GATHER_LIMIT = 1 << 22


def axis_samples(start: Tensor, size: Tensor, bins: int, ratio: int) -> Axis:
    """RoIAlign's sampling points along one axis.

    Args:
        start: (K,) start of the region, in pixels of the feature map.
        size: (K,) its extent.
        bins: B.
        ratio: samples per bin; 0 for one per pixel begun, which differs between regions.

    Returns:
        (K, B, G) coordinates, and (K, B, G) a mask of those that the region uses.
    """
    count = torch.full_like(size, ratio) if ratio > 0 else (size / bins).ceil().clamp(min=0)
    largest = max(int(count.max()), 1) if len(count) else 1
    sample = torch.arange(largest, device=size.device)
    width = (size / bins)[:, None, None]
    bin_start = start[:, None, None] + torch.arange(bins, device=size.device)[:, None] * width
    step = (sample + 0.5) * width / count.clamp(min=1)[:, None, None]
    points = bin_start + step
    return points, (sample < count[:, None, None]).expand_as(points)


def bilinear_corners(points: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """The two pixels (int64) beside each point of an axis of that length, with their weights.

    Points up to one pixel outside take the border's value; beyond that the weights are 0.
    """
    inside = (points >= -1) & (points <= length)
    clamped = points.clamp(0, length - 1)
    low = clamped.floor()
    fraction = clamped - low
    low = low.long()
    high = (low + 1).clamp(max=length - 1)
    return [(low, (1 - fraction) * inside), (high, fraction * inside)]


def gather_bilinear(features: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Features (N, H, W, C) of images (K,) at the grids of y (K, P) and x (K, Q): (K, P, Q, C)."""
    height, width = features.shape[1:3]
    image = image[:, None, None]
    total = features.new_zeros(())
    for row, row_weight in bilinear_corners(y, height):
        for column, column_weight in bilinear_corners(x, width):
            weight = row_weight[:, :, None, None] * column_weight[:, None, :, None]
            total = total + weight * features[image, row[:, :, None], column[:, None, :]]
    return total


def max_over_samples(values: Tensor, used_y: Tensor, used_x: Tensor) -> tuple[Tensor, ...]:
    """The largest of each bin's samples and its position.

    Args:
        values: (K, Bh * Gh, Bw * Gw, C) samples.
        used_y: (K, Bh, Gh) mask of the rows used.
        used_x: (K, Bw, Gw) mask of the columns used.

    Returns:
        (K, C, Bh, Bw) maxima, and the number of their row and column within the bin, int64, the
        first in reading order among equals. Where a bin has no sample: 0, -1 and -1.
    """
    (regions, rows, row_samples), (_, columns, column_samples) = used_y.shape, used_x.shape
    used = used_y[:, :, None, :, None] & used_x[:, None, :, None, :]
    values = values.view(regions, rows, row_samples, columns, column_samples, -1).transpose(2, 3)
    values = values.masked_fill(~used[..., None], -torch.inf)
    largest, index = values.flatten(3, 4).max(dim=3)
    empty = ~used.flatten(3).any(dim=3)[..., None]
    largest = largest.masked_fill(empty, 0)
    row = (index // column_samples).masked_fill(empty, -1)
    column = (index % column_samples).masked_fill(empty, -1)
    return tuple(tensor.permute(0, 3, 1, 2) for tensor in (largest, row, column))
