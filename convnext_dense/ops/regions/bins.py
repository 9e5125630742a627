"""Averages of bilinear samples at any points of bins, differentiable in features and points.

Shapes: K regions of Bh x Bw bins, S samples in a bin, C channels.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.ops.sampling import GATHER_LIMIT, Axis, bilinear_corners


def pixel_rows(features: Tensor) -> Tensor:
    """Features (N, C, H, W) as one row of C values for each pixel: (N * H * W, C)."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def pixel_maps(rows: Tensor, shape: torch.Size) -> Tensor:
    """The features of that shape (N, C, H, W) whose rows these are."""
    count, channels, height, width = shape
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def region_grids(y_axis: Axis, x_axis: Axis) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """The regions in parts that have at most `GATHER_LIMIT` samples together.

    Yields:
        A slice of k regions, and the grids of their bins' samples: y (k, Bh, 1, Gh, 1),
        x (k, 1, Bw, 1, Gw) and a mask (k, Bh, Bw, Gh, Gw) of the samples that count.
    """
    (y, used_y), (x, used_x) = y_axis, x_axis
    step = max(GATHER_LIMIT // max(y[:1].numel() * x[:1].numel(), 1), 1)
    for begin in range(0, len(y), step):
        part = slice(begin, begin + step)
        used = used_y[part][:, :, None, :, None] & used_x[part][:, None, :, None, :]
        yield part, y[part][:, :, None, :, None], x[part][:, None, :, None, :], used


def average_bins(
    rows: Tensor, size: tuple[int, int], image: Tensor, y: Tensor, x: Tensor, used: Tensor
) -> Tensor:
    """The average of each bin's samples.

    Args:
        rows: (N * H * W, C), see `pixel_rows`.
        size: H and W.
        image: (K,) image number of each region, int64.
        y: The samples' coordinates in pixels, broadcast to (K, Bh, Bw, Gh, Gw), Gh * Gw = S.
        x: The same.
        used: (K, Bh, Bw, Gh, Gw), mask of the samples that count.

    Returns:
        (K, C, Bh, Bw); 0 for a bin without samples.
    """
    y, x = y.expand_as(used), x.expand_as(used)
    share = used.to(y.dtype) / used.sum(dim=(3, 4), keepdim=True).clamp(min=1)
    first_row = (image * size[0])[:, None, None, None, None]
    pixels, weights = [], []
    for row, row_weight in bilinear_corners(y, size[0]):
        for column, column_weight in bilinear_corners(x, size[1]):
            # A region that is not finite has no pixels; its weights are NaN, and so is its average.
            row, column = row.clamp(0, size[0] - 1), column.clamp(0, size[1] - 1)
            pixels.append((first_row + row) * size[1] + column)
            weights.append(row_weight * column_weight * share)
    bins = F.embedding_bag(
        torch.stack(pixels, dim=3).flatten(3).flatten(0, 2),
        rows,
        per_sample_weights=torch.stack(weights, dim=3).flatten(3).flatten(0, 2),
        mode="sum",
    )
    return bins.view(*y.shape[:3], -1).permute(0, 3, 1, 2)
