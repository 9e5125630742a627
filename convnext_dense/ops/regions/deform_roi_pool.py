"""Deformable RoI pooling (Dai et al., 2017, section 2.2), with mmcv's averages of samples.

The modulated form (Zhu et al., 2019) is mmcv's module alone: it multiplies the result by a mask.
Regions have half a pixel less in the feature map, like `aligned` ones of RoIAlign.
"""

import torch
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32
from convnext_dense.ops.regions.bins import (
    average_bins,
    pixel_maps,
    pixel_rows,
    region_grids,
)
from convnext_dense.ops.sampling import Axis, axis_samples


@torch.no_grad()
def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fill `output` (R, C, pooled_height, pooled_width) with the average of each moved bin.

    Args:
        input: (N, C, H, W) features.
        rois: (R, 5), image number and xyxy in pixels of the image.
        offset: (R, 2, pooled_height, pooled_width), along x and y, in parts of the region's width
            and height; empty for none.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples along each axis of a bin; 0 for one per feature pixel begun.
        gamma: factor of the offsets.
    """
    if not output.numel():
        return
    features, boxes, offset = at_least_float32(input, rois, offset)
    y_axis, x_axis, reach = _geometry(
        boxes, (pooled_height, pooled_width), spatial_scale, sampling_ratio, gamma
    )
    rows, image = pixel_rows(features), boxes[:, 0].long()
    for part, y, x, used in region_grids(y_axis, x_axis):
        if offset.numel():
            y, x = _moved(y, x, offset[part], reach[part])
        output[part] = average_bins(rows, features.shape[2:], image[part], y, x, used)


@torch.no_grad()
def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fill the gradients of the features and, where there are any, of the offsets.

    They are those of the forward pass everywhere. mmcv's gradient of the offsets differs for
    samples beyond the centres of the map's border pixels, where its formula extrapolates.
    """
    if not grad_output.numel():
        return
    gradient, features, boxes, offset = at_least_float32(grad_output, input, rois, offset)
    y_axis, x_axis, reach = _geometry(
        boxes, (pooled_height, pooled_width), spatial_scale, sampling_ratio, gamma
    )
    rows, image = pixel_rows(features).requires_grad_(), boxes[:, 0].long()
    total = torch.zeros_like(rows)
    for part, y, x, used in region_grids(y_axis, x_axis):
        sources = [rows]
        with torch.enable_grad():
            if offset.numel():
                sources.append(offset[part].detach().requires_grad_())
                y, x = _moved(y, x, sources[1], reach[part])
            pooled = average_bins(rows, features.shape[2:], image[part], y, x, used)
        gradients = torch.autograd.grad(pooled, sources, gradient[part])
        total += gradients[0]
        if offset.numel():
            grad_offset[part] = gradients[1].to(grad_offset.dtype)
    grad_input.copy_(pixel_maps(total, input.shape))


def _geometry(
    boxes: Tensor, bins: tuple[int, int], scale: float, ratio: int, gamma: float
) -> tuple[Axis, Axis, Tensor]:
    """`axis_samples` along y and x, and how far an offset of 1 moves along x and y: (R, 2)."""
    corners = boxes[:, 1:] * scale - 0.5
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    x_axis = axis_samples(start[:, 0], size[:, 0], bins[1], ratio)
    y_axis = axis_samples(start[:, 1], size[:, 1], bins[0], ratio)
    return y_axis, x_axis, gamma * size


def _moved(y: Tensor, x: Tensor, offset: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """The samples' coordinates, moved by the offset of their bin."""
    move = (offset * reach[:, :, None, None])[..., None, None]
    return y + move[:, 1], x + move[:, 0]
