"""RoIAlign (He et al., 2017, section 3), averaging or taking the maximum of each bin's samples."""

import torch
import torchvision  # noqa: F401 (registers torch.ops.torchvision)
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32
from convnext_dense.ops.sampling import (
    GATHER_LIMIT,
    Axis,
    axis_samples,
    bilinear_corners,
    gather_bilinear,
    max_over_samples,
)

MAX, AVERAGE = 0, 1
# Regions that the deterministic backward pass computes at once.
DETERMINISTIC_CHUNK = 32


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `output` with the pooled regions.

    Args:
        input: (N, C, H, W) features.
        rois: (R, 5), image number and xyxy in pixels of the image.
        output: (R, C, aligned_height, aligned_width).
        argmax_y: like `output` for the maximum, empty for the average. Only `roi_align_backward`
            reads it: it is the number of the sample within its bin, -1 in a bin without samples.
            (mmcv puts the coordinate here, which half precision would round.)
        argmax_x: the same along x.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples along each axis of a bin; 0 for one per feature pixel begun.
        pool_mode: 0 maximum, 1 average.
        aligned: whether coordinates are those of pixel corners (half a pixel less in the feature
            map).
    """
    features, boxes = at_least_float32(input, rois)
    bins = aligned_height, aligned_width
    if pool_mode == AVERAGE:
        output.copy_(
            torch.ops.torchvision.roi_align(
                features, boxes, spatial_scale, *bins, sampling_ratio, aligned
            )
        )
    elif output.numel():
        image, y_axis, x_axis = _axes(boxes, bins, spatial_scale, sampling_ratio, aligned)
        _max_forward(features, image, y_axis, x_axis, (output, argmax_y, argmax_x))


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `grad_input` (N, C, H, W) from `grad_output` (R, C, aligned_height, aligned_width).

    The other arguments are those of `roi_align_forward`.
    """
    gradient, boxes = at_least_float32(grad_output, rois)
    bins = aligned_height, aligned_width
    deterministic = torch.are_deterministic_algorithms_enabled() and gradient.is_cuda
    if pool_mode == AVERAGE and not deterministic:
        grad_input.copy_(
            torch.ops.torchvision._roi_align_backward(
                gradient, boxes, spatial_scale, *bins, *grad_input.shape, sampling_ratio, aligned
            )
        )
    elif gradient.numel():
        axes = _axes(boxes, bins, spatial_scale, sampling_ratio, aligned)
        if pool_mode == AVERAGE:
            grad_input.copy_(deterministic_average_backward(gradient, *axes, grad_input.shape))
        else:
            argmax = argmax_y.long(), argmax_x.long()
            grad_input.copy_(_max_backward(gradient, *axes, argmax, grad_input.shape))


def _axes(
    boxes: Tensor, bins: tuple[int, int], spatial_scale: float, ratio: int, aligned: bool
) -> tuple[Tensor, Axis, Axis]:
    """Each region's image number and its `axis_samples` along y and x."""
    corners = boxes[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        size = size.clamp(min=1)
    x_axis = axis_samples(start[:, 0], size[:, 0], bins[1], ratio)
    y_axis = axis_samples(start[:, 1], size[:, 1], bins[0], ratio)
    return boxes[:, 0].long(), y_axis, x_axis


def _max_forward(
    features: Tensor, image: Tensor, y_axis: Axis, x_axis: Axis, results: tuple[Tensor, ...]
) -> None:
    """Write the maxima and their row and column numbers into the three `results`."""
    (y, used_y), (x, used_x) = y_axis, x_axis
    features = features.permute(0, 2, 3, 1).contiguous()
    samples = features.shape[3] * y[0].numel() * x[0].numel()
    step = max(GATHER_LIMIT // samples, 1)
    for begin in range(0, len(image), step):
        part = slice(begin, begin + step)
        values = gather_bilinear(features, image[part], y[part].flatten(1), x[part].flatten(1))
        maxima = max_over_samples(values, used_y[part], used_x[part])
        for result, value in zip(results, maxima, strict=True):
            result[part] = value


def _max_backward(
    gradient: Tensor,
    image: Tensor,
    y_axis: Axis,
    x_axis: Axis,
    argmax: tuple[Tensor, Tensor],
    shape: torch.Size,
) -> Tensor:
    """Give each bin's gradient to the four pixels around its maximum."""
    _, channels, height, width = shape
    row, column = argmax
    y = _sample_at(y_axis[0][:, None, :, None, :], row)
    x = _sample_at(x_axis[0][:, None, None, :, :], column)
    gradient = gradient * (row >= 0)
    plane = image[:, None] * channels + torch.arange(channels, device=image.device)
    total = gradient.new_zeros(shape)
    for row_index, y_weight in bilinear_corners(y, height):
        for column_index, x_weight in bilinear_corners(x, width):
            index = (plane[:, :, None, None] * height + row_index) * width + column_index
            share = gradient * y_weight * x_weight
            total.view(-1).index_add_(0, index.flatten(), share.flatten())
    return total


def _sample_at(samples: Tensor, number: Tensor) -> Tensor:
    """The sample with index `number` on the last axis of `samples`, broadcast over the others."""
    samples = samples.expand(*number.shape, -1)
    return samples.gather(-1, number.clamp(min=0)[..., None])[..., 0]


def deterministic_average_backward(
    gradient: Tensor, image: Tensor, y_axis: Axis, x_axis: Axis, shape: torch.Size
) -> Tensor:
    """The average's gradient as matrix products, which add in the same order in every run.

    torchvision's CUDA kernel adds atomically and refuses `torch.use_deterministic_algorithms`.
    The average is linear and separable: `out = Y F X^T`, one (bins, pixels) matrix per axis.
    """
    total = gradient.new_zeros(shape)
    with torch.autocast(gradient.device.type, enabled=False):
        for number in range(shape[0]):
            for part in (image == number).nonzero().squeeze(1).split(DETERMINISTIC_CHUNK):
                to_y = _axis_matrix(y_axis[0][part], y_axis[1][part], shape[2])
                to_x = _axis_matrix(x_axis[0][part], x_axis[1][part], shape[3])
                rows = torch.einsum("rih,rcij->rchj", to_y, gradient[part])
                total[number] += torch.einsum("rchj,rjw->chw", rows, to_x)
    return total


def _axis_matrix(points: Tensor, used: Tensor, length: int) -> Tensor:
    """(K, B, length): the weight of each pixel of the axis in each bin's average."""
    pixel = torch.arange(length, device=points.device)
    share = (used / used.sum(dim=2, keepdim=True).clamp(min=1))[..., None]
    matrix = points.new_zeros(*points.shape[:2], length)
    for corner, weight in bilinear_corners(points, length):
        matrix += ((corner[..., None] == pixel) * weight[..., None] * share).sum(dim=2)
    return matrix
