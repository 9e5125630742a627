"""RoIAlign as weighted sums of rows of the feature map: the fast way on a CPU.

torchvision's CPU kernels compute each bin of each channel by itself, and their backward pass adds
the channels' shares one by one in a single thread. A bin's weights do not depend on the channel, so
a bin is a weighted sum of the map's rows (one row of C values for each pixel): what
``F.embedding_bag`` computes, whose passes are vectorised over the channels and threaded.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.ops.sampling import Axis, axis_samples, bilinear_corners


def roi_align_rows(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average RoIAlign, equal to torchvision's up to the rounding of the sums.

    Args:
        features: (N, C, H, W) in float32; copied unless channels-last.
        rois: (R, 5), image number and xyxy in pixels of the image; gets no gradient.
        output_size: Bins along y and x.
        spatial_scale: Feature pixels per image pixel.
        sampling_ratio: Samples along each axis of a bin, at least 1.
        aligned: Whether coordinates are those of pixel corners.

    Returns:
        (R, C, *output_size) in float32, channels-last.
    """
    count, channels, height, width = features.shape
    corners = rois[:, 1:].detach() * spatial_scale - (0.5 if aligned else 0.0)
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        size = size.clamp(min=1)
    x_axis = axis_samples(start[:, 0], size[:, 0], output_size[1], sampling_ratio)
    y_axis = axis_samples(start[:, 1], size[:, 1], output_size[0], sampling_ratio)
    x, x_weight = _pixels_of_bins(x_axis, width)
    y, y_weight = _pixels_of_bins(y_axis, height)
    # (R, bins y, bins x, pixels y, pixels x)
    first_row = (rois[:, 0].long() * height)[:, None, None]
    pixel = ((first_row + y) * width)[:, :, None, :, None] + x[:, None, :, None, :]
    weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
    bins = F.embedding_bag(
        pixel.flatten(3).flatten(0, 2),
        features.permute(0, 2, 3, 1).reshape(count * height * width, channels),
        per_sample_weights=weight.flatten(3).flatten(0, 2),
        mode="sum",
    )
    return bins.view(len(rois), *output_size, channels).permute(0, 3, 1, 2)


def _pixels_of_bins(axis: Axis, length: int) -> tuple[Tensor, Tensor]:
    """The pixels that each bin of an axis reads, and their shares: (R, bins, 2 x samples)."""
    points = axis[0]
    pixels, weights = zip(*bilinear_corners(points, length), strict=True)
    # A box that is not finite has no pixels; its weights are NaN, and so is what it reads.
    pixels = torch.cat(pixels, dim=2).clamp(0, length - 1)
    return pixels, torch.cat(weights, dim=2) / points.shape[2]
