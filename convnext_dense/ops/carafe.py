"""CARAFE (Wang et al., 2019): upsampling by a weighted sum around each source pixel.

`masks` (N, groups * k * k, s * H, s * W) hold the k x k weights of every output pixel, one set for
each group of channels. The operators go through the taps of the kernel one by one: all patches at
once would take k * k times the memory of the features. mmcv's other buffers, copies for the layout
of its kernels, are unused.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32


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
    padded, weights = _operands(features, masks, kernel_size, group_size, scale_factor)
    total = padded.new_zeros(output.shape).view(_grouped_shape(features, group_size, scale_factor))
    for tap, window in _windows(padded, kernel_size, features.shape[2:]):
        total.addcmul_(window[..., :, None, :, None], weights[:, :, None, tap])
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
    padded, weights = _operands(features, masks, kernel_size, group_size, scale_factor)
    gradient = grad_output.to(padded.dtype).reshape(
        _grouped_shape(features, group_size, scale_factor)
    )
    to_padded, to_weights = torch.zeros_like(padded), torch.zeros_like(weights)
    size, radius = features.shape[2:], kernel_size // 2
    gradients = _windows(to_padded, kernel_size, size)
    for (tap, window), (_, to_window) in zip(
        _windows(padded, kernel_size, size), gradients, strict=True
    ):
        to_weights[:, :, tap] = (gradient * window[..., :, None, :, None]).sum(dim=2)
        to_window += (gradient * weights[:, :, None, tap]).sum(dim=(4, 6))
    to_features = to_padded[..., radius : radius + size[0], radius : radius + size[1]]
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
) -> tuple[Tensor, Tensor]:
    """Features (N, groups, C / groups, H + k - 1, W + k - 1), padded with zeros, and the weights
    (N, groups, k * k, H, s, W, s)."""
    features, masks = at_least_float32(features, masks)
    count, _, height, width = features.shape
    padded = F.pad(features, [kernel // 2] * 4).unflatten(1, (groups, -1))
    return padded, masks.reshape(count, groups, kernel**2, height, scale, width, scale)


def _grouped_shape(features: Tensor, groups: int, scale: int) -> tuple[int, ...]:
    """The output's shape with an axis for groups, and for the output pixels of a source pixel."""
    count, channels, height, width = features.shape
    return count, groups, channels // groups, height, scale, width, scale


def _windows(padded: Tensor, kernel: int, size: tuple[int, int]):
    """Each tap's number, and the view of the padded features that it reads."""
    height, width = size
    for tap in range(kernel**2):
        row, column = divmod(tap, kernel)
        yield tap, padded[..., row : row + height, column : column + width]
