"""CARAFE (Wang et al., 2019): upsampling by a weighted sum around each source pixel.

`masks` (N, groups * k * k, s * H, s * W) hold the k x k weights of every output pixel, one set for
each group of channels. For one source pixel that is a product of its patch (C / groups, k * k) with
its weights (k * k, s * s), so the operators are batches of small matrix products, in parts: all
patches take k * k times the memory of the features. mmcv's other buffers, copies for the layout of
its kernels, are unused.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32

# Values of patches that exist at once.
PATCH_LIMIT = 1 << 24


@torch.no_grad()
def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill `output` (N, C, s * H, s * W) from `features` (N, C, H, W).

    Args:
        kernel_size: k, odd; pixels outside of the features are 0.
        group_size: number of groups of channels.
        scale_factor: s.
    """
    padded, weights, shape = _operands(features, masks, kernel_size, group_size, scale_factor)
    total = padded.new_empty(shape)
    with torch.autocast(padded.device.type, enabled=False):
        for part in _parts(features.shape, kernel_size):
            pixels = _patches(padded, part, kernel_size) @ _matrices(weights, part)
            target = total[part[0], :, :, part[1]]
            target.copy_(_maps(pixels, target.shape))
    output.copy_(total.view(output.shape))


@torch.no_grad()
def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill the gradients of the features and of the masks."""
    padded, weights, shape = _operands(features, masks, kernel_size, group_size, scale_factor)
    gradient = grad_output.to(padded.dtype).reshape(shape)
    to_padded, to_weights = torch.zeros_like(padded), torch.empty_like(weights)
    with torch.autocast(padded.device.type, enabled=False):
        for part in _parts(features.shape, kernel_size):
            pixels = _matrices(gradient, part)
            to_part = to_weights[part[0], :, :, part[1]]
            patches = _patches(padded, part, kernel_size)
            to_part.copy_(_maps(patches.transpose(1, 2) @ pixels, to_part.shape))
            to_patches = pixels @ _matrices(weights, part).transpose(1, 2)
            _add_patches(to_padded, to_patches, part, kernel_size)
    (height, width), radius = features.shape[2:], kernel_size // 2
    to_features = to_padded[..., radius : radius + height, radius : radius + width]
    grad_input.copy_(to_features.flatten(1, 2))
    grad_masks.copy_(to_weights.view(grad_masks.shape))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Like :func:`carafe_naive_forward`; `rfeatures` is what mmcv gives to the backward pass."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Like :func:`carafe_naive_backward`, with the features as `carafe_forward` kept them."""
    carafe_naive_backward(
        grad_output,
        rfeatures,
        masks,
        grad_input,
        grad_masks,
        kernel_size,
        group_size,
        scale_factor,
    )


def _operands(
    features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Padded features, weights and the output's shape, with an axis for groups.

    Returns:
        (N, groups, C / groups, H + k - 1, W + k - 1), (N, groups, k * k, H, s, W, s), and the shape
        (N, groups, C / groups, H, s, W, s).
    """
    features, masks = at_least_float32(features, masks)
    count, channels, height, width = features.shape
    padded = F.pad(features, [kernel // 2] * 4).unflatten(1, (groups, channels // groups))
    pixels = height, scale, width, scale
    weights = masks.reshape(count, groups, kernel**2, *pixels)
    return padded, weights, (count, groups, channels // groups, *pixels)


def _parts(shape: torch.Size, kernel: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of features of that shape whose patches exist at once."""
    count, channels, height, width = shape
    row = max(channels * width * kernel**2, 1)
    images, rows = max(PATCH_LIMIT // (row * height), 1), max(PATCH_LIMIT // row, 1)
    for image in range(0, count, images):
        for first in range(0, height, rows):
            yield slice(image, image + images), slice(first, min(first + rows, height))


def _patches(padded: Tensor, part: tuple[slice, slice], kernel: int) -> Tensor:
    """The patch of each group of each pixel: (pixels, C / groups, k * k)."""
    images, rows = part
    band = padded[images, :, :, rows.start : rows.stop + kernel - 1]
    patches = band.unfold(3, kernel, 1).unfold(4, kernel, 1).permute(0, 1, 3, 4, 2, 5, 6)
    return patches.reshape(-1, padded.shape[2], kernel**2)


def _add_patches(padded: Tensor, patches: Tensor, part: tuple[slice, slice], kernel: int) -> None:
    """Add patches to the padded features that `_patches` took them from."""
    images, rows = part
    count, groups, channels, _, width = padded[images].shape
    height, width = rows.stop - rows.start, width - kernel + 1
    patches = patches.view(count, groups, height, width, channels, kernel, kernel)
    patches = patches.permute(5, 6, 0, 1, 4, 2, 3)
    for row in range(kernel):
        for column in range(kernel):
            top = rows.start + row
            window = padded[images, :, :, top : top + height, column : column + width]
            window += patches[row, column]


def _matrices(maps: Tensor, part: tuple[slice, slice]) -> Tensor:
    """Maps (N, groups, K, H, s, W, s) as one matrix for each source pixel: (pixels, K, s * s)."""
    maps = maps[part[0], :, :, part[1]].permute(0, 1, 3, 5, 2, 4, 6)
    return maps.reshape(-1, maps.shape[4], maps.shape[5] ** 2)


def _maps(matrices: Tensor, shape: torch.Size) -> Tensor:
    """The maps of that shape whose `_matrices` these are."""
    count, groups, size, height, scale, width, _ = shape
    maps = matrices.view(count, groups, height, width, size, scale, scale)
    return maps.permute(0, 1, 4, 2, 5, 3, 6)
