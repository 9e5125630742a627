"""RoIPool (Girshick, 2015, section 2.1) with mmcv's bins.

torchvision's bins differ: it rounds a region to whole feature pixels before it divides it, while
mmcv divides the exact region and rounds every bin outwards.
"""

import torch
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32
from convnext_dense.ops.sampling import GATHER_LIMIT, Axis, max_over_samples


@torch.no_grad()
def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill `output` with each bin's maximum and `argmax` with its index.

    Args:
        input: (N, C, H, W) features.
        rois: (R, 5), image number and xyxy in pixels of the image, the last pixel included.
        output: (R, C, pooled_height, pooled_width); 0 for a bin without pixels.
        argmax: like `output`, int32: `row * W + column` of the maximum, -1 without pixels.
        spatial_scale: feature pixels per image pixel.
    """
    if not output.numel():
        return
    features, boxes = at_least_float32(input, rois)
    height, width = features.shape[2:]
    start = boxes[:, 1:3] * spatial_scale
    size = (boxes[:, 3:] + 1) * spatial_scale - start
    exists = (size > 0).all(dim=1)
    x, used_x = _axis_pixels(start[:, 0], size[:, 0], pooled_width, width)
    y, used_y = _axis_pixels(start[:, 1], size[:, 1], pooled_height, height)
    used_y = used_y & exists[:, None, None]

    features, image = features.permute(0, 2, 3, 1).contiguous(), boxes[:, 0].long()
    samples = features.shape[3] * y[0].numel() * x[0].numel()
    step = max(GATHER_LIMIT // samples, 1)
    for begin in range(0, len(image), step):
        part = slice(begin, begin + step)
        rows, columns = y[part].flatten(1)[:, :, None], x[part].flatten(1)[:, None, :]
        values = features[image[part, None, None], rows, columns]
        largest, row, column = max_over_samples(values, used_y[part], used_x[part])
        output[part] = largest
        # Samples of a bin are neighbours: the index is that of the first one plus the number.
        index = (y[part, None, :, None, 0] + row) * width + x[part, None, None, :, 0] + column
        argmax[part] = index.masked_fill(row < 0, -1).int()


@torch.no_grad()
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill `grad_input` (N, C, H, W): each bin's gradient goes to its maximum."""
    (gradient,) = at_least_float32(grad_output)
    channels, height, width = grad_input.shape[1:]
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    index = plane[:, :, None, None] * (height * width) + argmax.long().clamp(min=0)
    total = gradient.new_zeros(grad_input.shape)
    total.view(-1).index_add_(0, index.flatten(), (gradient * (argmax >= 0)).flatten())
    grad_input.copy_(total)


def _axis_pixels(start: Tensor, size: Tensor, bins: int, length: int) -> Axis:
    """Pixels of each region's bins along one axis: (K, B, G) int64, with a mask of those used."""
    number = torch.arange(bins, device=start.device)
    width = (size / bins)[:, None]
    first = (number * width + start[:, None]).floor().clamp(0, length).long()
    stop = ((number + 1) * width + start[:, None]).ceil().clamp(0, length).long()
    largest = max(int((stop - first).max()), 1)
    pixel = first[..., None] + torch.arange(largest, device=start.device)
    return pixel.clamp(max=length - 1), pixel < stop[..., None]
