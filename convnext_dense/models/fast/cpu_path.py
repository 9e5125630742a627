"""The block's computation on a CPU with less memory and time, and the same results.

In inference, allocating memory for each new feature map takes time: the MLP's results are written
into its input's memory. In training, two things cost more than they need to. Autograd saves the
values on both sides of the GELU and of the LayerNorm, and those that gamma multiplies: of the
twelve feature maps of C channels that it saves for a block, seven are enough. And torch's weight
gradient of a depthwise convolution takes 15 to 60 times as long as its forward pass on a CPU.
"""

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnext_dense.kernels.backward import gradients_by_autograd, needs_autograd
from convnext_dense.models.fast.products import linear, linear_gelu, uses_onednn

DTYPES = (torch.float32, torch.float64)
MAX_TILE_SIDE = 32  # pixels; larger tiles add rounding errors and no speed
MLP_ROWS = 2048  # pixels for which the MLP is computed at a time
CONV_GROUPS = 768  # channels times tiles of one convolution, so that its input fits in the cache
ALL = slice(None)


def depthwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A depthwise convolution of stride 1 with zero padding that keeps the size.

    Args:
        x: (N, C, H, W), float32 or float64.
        conv: Its weight (C, 1, K, K), K odd, and bias.

    Returns:
        (N, C, H, W) in channels-last memory.
    """
    if not (torch.is_grad_enabled() and conv.weight.requires_grad):
        return conv(x)
    return _Depthwise.apply(x, conv.weight, conv.bias)


def add_norm_mlp(
    residual: Tensor,
    x: Tensor,
    norm: nn.LayerNorm,
    expand: nn.Linear,
    project: nn.Linear,
    gamma: Tensor | None,
) -> Tensor:
    """``residual + gamma * project(gelu(expand(norm(x))))``.

    The backward pass recomputes norm and GELU.

    Args:
        residual, x: (N, H, W, C), float32 or float64.
        norm, expand, project: Layers over C, from C to 4 C and back.
        gamma: (C,); None means 1.

    Returns:
        (N, H, W, C).
    """
    return _AddNormMlp.apply(
        residual,
        x,
        norm.weight,
        norm.bias,
        expand.weight,
        expand.bias,
        project.weight,
        project.bias,
        gamma,
        norm.eps,
    )


def mlp_in_place(x: Tensor, expand: nn.Linear, project: nn.Linear) -> Tensor:
    """``project(gelu(expand(x)))``, written into x; without gradients.

    Args:
        x: (N, H, W, C), float32 or float64, contiguous.
        expand, project: Layers from C to 4 C and back.

    Returns:
        x.
    """
    for (rows,) in _row_chunks(x.view(-1, x.shape[-1])):
        hidden = linear_gelu(rows, expand.weight, expand.bias)
        _linear_into(rows, hidden, project.weight, project.bias)
    return x


def weight_gradient(x: Tensor, grad: Tensor, size: int) -> Tensor:
    """The weight gradient of a depthwise convolution, computed by forward convolutions of tiles.

    ``w[k] = sum over p of x[p + k] grad[p]`` is a convolution of the padded input with the gradient
    as its filter. Input and gradient are cut into tiles: such filters are small enough for the
    vectorised forward kernel. The tiles become channels of one convolution.

    Args:
        x: (N, C, H, W).
        grad: (N, C, H, W), the output's gradient.
        size: K, the odd size of the filter.

    Returns:
        (C, 1, K, K).
    """
    n, c, height, width = x.shape
    overlap = size - 1
    (rows, h), (columns, w) = _split_side(height), _split_side(width)
    pad_bottom, pad_right = rows * h - height, columns * w - width
    half = overlap // 2
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, half, half + pad_right, half, half + pad_bottom))
    grad = grad.permute(0, 2, 3, 1)
    if pad_bottom or pad_right:  # F.pad copies even where there is nothing to pad
        grad = F.pad(grad, (0, 0, 0, pad_right, 0, pad_bottom))
    tiles = x.unfold(1, h + overlap, h).unfold(2, w + overlap, w).permute(4, 5, 0, 1, 2, 3)
    filters = grad.reshape(n, rows, h, columns, w, c).permute(2, 4, 0, 1, 3, 5)
    tiles_at_once = max(1, CONV_GROUPS // c)
    images = max(1, tiles_at_once // columns)
    total = x.new_zeros(c, 1, size, size)
    for first in range(0, n, images):
        for row in range(rows):
            for left in range(0, columns, tiles_at_once):
                part = slice(first, first + images), row, slice(left, left + tiles_at_once)
                total += _convolve_tiles(tiles[(..., *part, ALL)], filters[(..., *part, ALL)])
    return total


def _split_side(length: int) -> tuple[int, int]:
    """Number of tiles of equal size along a side, and their size."""
    count = math.ceil(length / MAX_TILE_SIDE)
    return count, math.ceil(length / count)


def _convolve_tiles(tiles: Tensor, filters: Tensor) -> Tensor:
    """Each tile (h + K - 1, w + K - 1) with its filter (h, w), summed over all but channels."""
    c = tiles.shape[-1]
    tiles, filters = (t.reshape(*t.shape[:2], -1).permute(2, 0, 1) for t in (tiles, filters))
    products = F.conv2d(tiles[None], filters[:, None], groups=len(filters))[0]
    return products.view(-1, c, 1, *products.shape[1:]).sum(0)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return _convolution(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad
        if needs_autograd(grad):
            return (*gradients_by_autograd(_convolution, ctx.saved_tensors, grad, needed),)
        x, weight, _ = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = None
        if needed[0]:  # the same convolution with the flipped filter
            grad_x = _convolution(grad, weight.flip(2, 3), None)
        grad_weight = weight_gradient(x, grad, weight.shape[-1])
        grad_bias = grad.sum((0, 2, 3)) if needed[2] else None
        return grad_x, grad_weight, grad_bias


class _AddNormMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, residual, x, norm_w, norm_b, w1, b1, w2, b2, gamma, eps):
        y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], norm_w, norm_b, eps)
        z = linear(y.view(-1, y.shape[-1]), w1, b1)
        out = torch.empty_like(y)
        for out_rows, z_rows in _row_chunks(out.view(-1, out.shape[-1]), z):
            _linear_into(out_rows, F.gelu(z_rows), w2, b2)
        # Folding gamma into w2 would read and write all weights several times: slower on a CPU.
        saved_out = None if gamma is None else out
        ctx.save_for_backward(x, norm_w, norm_b, w1, b1, w2, b2, gamma, mean, rstd, z, saved_out)
        ctx.eps = eps
        return residual + out if gamma is None else torch.addcmul(residual, out, gamma)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed, grad_residual = ctx.needs_input_grad[1:], grad
        *inputs, mean, rstd, z, saved_out = ctx.saved_tensors
        if needs_autograd(grad):
            branch = partial(_norm_mlp, ctx.eps)
            return grad_residual, *gradients_by_autograd(branch, inputs, grad, needed), None
        x, norm_w, norm_b, w1, _, w2, _, gamma = inputs
        c = x.shape[-1]
        grad, grad_gamma = grad.reshape(-1, c), None
        if gamma is not None:
            grad_gamma = (grad * saved_out.view(-1, c)).sum(0) if needed[7] else None
            grad = grad * gamma
        y = F.layer_norm(x, (c,), norm_w, norm_b, ctx.eps).view(-1, c)
        grad_y, sums = torch.empty_like(y), _Sums()
        for grad_rows, y_rows, z_rows, grad_y_rows in _row_chunks(grad, y, z, grad_y):
            if needed[5]:
                sums.add_product("w2", F.gelu(z_rows), grad_rows)
            grad_z = linear(grad_rows, w2.T)
            torch.ops.aten.gelu_backward(grad_z, z_rows, grad_input=grad_z)
            if needed[3]:
                sums.add_product("w1", grad_z, y_rows)
            if needed[4]:
                sums.add("b1", grad_z.sum(0))
            _linear_into(grad_y_rows, grad_z, w1.T)
        grad_b2 = grad.sum(0) if needed[6] else None
        grad_norm = torch.ops.aten.native_layer_norm_backward(
            grad_y.view(x.shape), x, (c,), mean, rstd, norm_w, norm_b, needed[:3]
        )
        # A product is faster with the longer side first, so this one was computed transposed.
        grad_w2 = sums["w2"].T.contiguous() if needed[5] else None
        grad_mlp = sums.get("w1"), sums.get("b1"), grad_w2, grad_b2
        return grad_residual, *grad_norm, *grad_mlp, grad_gamma, None


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


def _linear_into(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """Writes ``x weight^T + bias`` into memory that is there."""
    if uses_onednn(x):
        out.copy_(linear(x, weight, bias))
    elif bias is None:
        torch.mm(x, weight.T, out=out)
    else:
        torch.addmm(bias, x, weight.T, out=out)


def _norm_mlp(eps: float, x, norm_w, norm_b, w1, b1, w2, b2, gamma) -> Tensor:
    y = F.layer_norm(x, x.shape[-1:], norm_w, norm_b, eps)
    y = F.linear(F.gelu(F.linear(y, w1, b1)), w2, b2)
    return y if gamma is None else y * gamma


class _Sums(dict):
    """Sums of tensors by name. The first tensor becomes the sum: no zeros are allocated."""

    def add(self, name: str, value: Tensor) -> None:
        self[name] = self[name].add_(value) if name in self else value

    def add_product(self, name: str, a: Tensor, b: Tensor) -> None:
        """Adds the matrix product of a, transposed, and b."""
        self[name] = self[name].addmm_(a.T, b) if name in self else a.T @ b


def _row_chunks(*matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of several matrices, ``MLP_ROWS`` at a time: hidden activations stay small."""
    return zip(*(matrix.split(MLP_ROWS) for matrix in matrices), strict=True)
