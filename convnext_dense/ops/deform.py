"""Deformable convolution, plain (Dai et al., 2017) and modulated (Zhu et al., 2019).

torchvision has one operator for both, with mmcv's order of offsets and mmcv's rule at the border.
Offsets are (N, groups * kh * kw * 2, H, W), y before x. The buffers `columns` and `ones`, the
kernel size (known from the weight) and `im2col_step` are unused; only mmcv's own kernels need them.

Offsets and masks of a modulated convolution may be larger than its output: mmdet's DyHead takes
them from the level below. mmcv's kernel does not crop them, but indexes each image's memory with
the output's size. Networks are trained with that, so it is repeated here (:func:`first_values`). A
plain convolution refuses larger offsets, as in mmcv. Smaller ones, where mmcv reads beyond their
end, are refused here.
"""

import torch
import torch.nn.functional as F
import torchvision  # noqa: F401 (registers torch.ops.torchvision)
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32


@torch.no_grad()
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill `output` with the plain deformable convolution; d* are strides."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_forward(input, weight, offset, None, None, geometry))


@torch.no_grad()
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill the gradients of the input and of the offsets."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    gradients = _backward(gradOutput, input, weight, offset, None, None, geometry)
    gradInput.copy_(gradients[0])
    gradOffset.copy_(gradients[2])


@torch.no_grad()
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Fill the gradient of the weight, times `scale`.

    torchvision has no kernel for it alone: this repeats the work of `deform_conv_backward_input`.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # The gradient of the weight does not depend on the weight: any tensor of its shape will do.
    gradients = _backward(gradOutput, input, gradWeight, offset, None, None, geometry)
    gradWeight.copy_(gradients[1] * scale)


@torch.no_grad()
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill `output`; `mask` (N, groups * kh * kw, H, W) scales every sample."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    bias = bias if with_bias else None
    offset, mask = (first_values(maps, output.shape[2:]) for maps in (offset, mask))
    output.copy_(_forward(input, weight, offset, mask, bias, geometry))


@torch.no_grad()
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the gradients of all five inputs, that of the bias only where there is one.

    Offsets and mask values that were not read have a gradient of 0.
    """
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    bias = bias if with_bias else None
    offset, mask = (first_values(maps, grad_output.shape[2:]) for maps in (offset, mask))
    gradients = _backward(grad_output, input, weight, offset, mask, bias, geometry)
    targets = [grad_input, grad_weight, grad_offset, grad_mask] + [grad_bias] * with_bias
    for target, gradient in zip(targets, gradients, strict=False):
        unread = target.numel() - gradient.numel()
        if unread:
            gradient = F.pad(gradient.flatten(1), (0, unread // len(target)))
        target.copy_(gradient.view(target.shape))


def first_values(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The first values of each image's feature maps (N, C, H, W), reshaped to (N, C, *size).

    Feature maps with a side smaller than ``size`` are returned unchanged; torchvision refuses them.
    """
    height, width = maps.shape[2:]
    if (height, width) == tuple(size) or height < size[0] or width < size[1]:
        return maps
    channels = maps.shape[1]
    read = maps.flatten(1)[:, : channels * size[0] * size[1]]
    return read.reshape(len(maps), channels, *size)


def _operands(input, weight, offset, mask, bias) -> list[Tensor]:
    """The tensors in one type, as torchvision needs them, with zeros for a missing mask or bias."""
    mask = input.new_zeros(input.shape[0], 1) if mask is None else mask
    bias = input.new_zeros(weight.shape[0]) if bias is None else bias
    return at_least_float32(input, weight, offset, mask, bias)


def _forward(input, weight, offset, mask, bias, geometry) -> Tensor:
    operands = _operands(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*operands, *geometry, mask is not None)


def _backward(gradient, input, weight, offset, mask, bias, geometry) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    operands = _operands(input, weight, offset, mask, bias)
    gradient = gradient.to(operands[0].dtype)
    return torch.ops.torchvision._deform_conv2d_backward(
        gradient, *operands, *geometry, mask is not None
    )
