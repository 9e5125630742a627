"""RoIAlign of rotated regions (Ma et al., 2018; detectron2's definition, as in mmcv)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32
from convnext_dense.ops.regions.bins import (
    average_bins,
    pixel_maps,
    pixel_rows,
    region_grids,
)
from convnext_dense.ops.sampling import axis_samples


@torch.no_grad()
def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Fill `output` (R, C, pooled_height, pooled_width) with the average of each bin.

    Args:
        input: (N, C, H, W) features.
        rois: (R, 6), image number, centre, width and height in pixels of the image, and the angle
            in radians.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples along each axis of a bin; 0 for one per feature pixel begun.
        aligned: whether coordinates are those of pixel corners (half a pixel less in the feature
            map).
        clockwise: whether angles turn x towards y, clockwise in the image.
    """
    if not output.numel():
        return
    features, boxes = at_least_float32(input, rois)
    bins = pooled_height, pooled_width
    grids = _grids(boxes, bins, spatial_scale, sampling_ratio, aligned, clockwise)
    rows, image = pixel_rows(features), boxes[:, 0].long()
    for part, *samples in grids:
        output[part] = average_bins(rows, features.shape[2:], image[part], *samples)


@torch.no_grad()
def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Fill `grad_input` (N, C, H, W); regions get no gradient."""
    if not grad_output.numel():
        return
    gradient, boxes = at_least_float32(grad_output, rois)
    bins = pooled_height, pooled_width
    grids = _grids(boxes, bins, spatial_scale, sampling_ratio, aligned, clockwise)
    # The average is linear: its gradient does not depend on the features.
    rows = pixel_rows(gradient.new_zeros(grad_input.shape)).requires_grad_()
    total, image = torch.zeros_like(rows), boxes[:, 0].long()
    for part, *samples in grids:
        with torch.enable_grad():
            pooled = average_bins(rows, grad_input.shape[2:], image[part], *samples)
        total += torch.autograd.grad(pooled, rows, gradient[part])[0]
    grad_input.copy_(pixel_maps(total, grad_input.shape))


def _grids(
    boxes: Tensor, bins: tuple[int, int], scale: float, ratio: int, aligned: bool, clockwise: bool
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """`region_grids` that are turned by the regions' angles around their centres."""
    centre, size = boxes[:, 1:3] * scale - (0.5 if aligned else 0.0), boxes[:, 3:5] * scale
    if not aligned:
        size = size.clamp(min=1)
    x_axis = axis_samples(-size[:, 0] / 2, size[:, 0], bins[1], ratio)
    y_axis = axis_samples(-size[:, 1] / 2, size[:, 1], bins[0], ratio)
    angle = boxes[:, 5] if clockwise else -boxes[:, 5]
    frames = torch.stack([*centre.unbind(1), angle.cos(), angle.sin()])[..., None, None, None, None]
    for part, y, x, used in region_grids(y_axis, x_axis):
        centre_x, centre_y, cos, sin = frames[:, part]
        yield part, y * cos + x * sin + centre_y, x * cos - y * sin + centre_x, used
