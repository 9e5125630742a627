"""The block's arithmetic with less memory and time: the same numbers.

Without gradients every new map is memory that the system has to fetch and clear; the MLP's results
can stand where its input stood. With gradients two things cost a step more than they need. Autograd
keeps both sides of the GELU, both of the LayerNorm and what gamma is multiplied with: of twelve
maps of C channels that it keeps for a block, seven are enough. And torch's weight gradient of a
depthwise convolution takes 15 to 60 times as long as its forward pass on a CPU.
"""

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnext_dense.kernels.backward import by_autograd, left_to_autograd

DTYPES = (torch.float32, torch.float64)
EDGE = 32  # pixels of a block's side, at most: more would add rounding errors and no speed
WHOLE = slice(None)
ROWS = 2048  # pixels of the MLP that are computed at a time
GROUPS = 768  # channels times blocks of one convolution: what it reads stays in the cache


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

    The backward pass computes norm and GELU again.

    Args:
        residual, x: (N, H, W, C), float32 or float64.
        norm, expand, project: Layers over C, from C to 4 C and back.
        gamma: (C,); None is 1.

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
    """``project(gelu(expand(x)))`` in x itself, without gradients.

    Args:
        x: (N, H, W, C), float32 or float64, contiguous.
        expand, project: Layers from C to 4 C and back.

    Returns:
        x.
    """
    for (part,) in _parts(x.view(-1, x.shape[-1])):
        hidden = torch.ops.aten.gelu_(F.linear(part, expand.weight, expand.bias))
        torch.addmm(project.bias, hidden, project.weight.T, out=part)
    return x


def weight_gradient(x: Tensor, grad: Tensor, size: int) -> Tensor:
    """The weight gradient of a depthwise convolution, as forward convolutions of blocks.

    ``w[k] = sum over p of x[p + k] grad[p]`` is a convolution of the padded map with the gradient
    as its filter. Maps are cut into blocks, whose filters are small enough for the vectorised
    forward kernel, and the blocks of a map become channels of one convolution.

    Args:
        x: (N, C, H, W).
        grad: (N, C, H, W), of the result.
        size: K, the odd size of the filter.

    Returns:
        (C, 1, K, K).
    """
    n, c, height, width = x.shape
    edge = size - 1
    (rows, h), (columns, w) = _blocks(height), _blocks(width)
    down, right = rows * h - height, columns * w - width
    half = edge // 2
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, half, half + right, half, half + down))
    grad = grad.permute(0, 2, 3, 1)
    if down or right:  # else it would be copied
        grad = F.pad(grad, (0, 0, 0, right, 0, down))
    views = x.unfold(1, h + edge, h).unfold(2, w + edge, w).permute(4, 5, 0, 1, 2, 3)
    filters = grad.reshape(n, rows, h, columns, w, c).permute(2, 4, 0, 1, 3, 5)
    at_once = max(1, GROUPS // c)
    pictures = max(1, at_once // columns)
    total = x.new_zeros(c, 1, size, size)
    for first in range(0, n, pictures):
        for row in range(rows):
            for left in range(0, columns, at_once):
                place = slice(first, first + pictures), row, slice(left, left + at_once)
                total += _convolved(views[(..., *place, WHOLE)], filters[(..., *place, WHOLE)])
    return total


def _blocks(length: int) -> tuple[int, int]:
    """How many blocks of equal size a side takes, and their size."""
    count = math.ceil(length / EDGE)
    return count, math.ceil(length / count)


def _convolved(views: Tensor, filters: Tensor) -> Tensor:
    """Each view (h + K - 1, w + K - 1) with its filter (h, w), summed over all but channels."""
    c = views.shape[-1]
    views, filters = (t.reshape(*t.shape[:2], -1).permute(2, 0, 1) for t in (views, filters))
    found = F.conv2d(views[None], filters[:, None], groups=len(filters))[0]
    return found.view(-1, c, 1, *found.shape[1:]).sum(0)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return _convolution(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        if left_to_autograd(grad):
            return (*by_autograd(_convolution, ctx.saved_tensors, grad, ctx.needs_input_grad),)
        x, weight, _ = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_input = None
        if ctx.needs_input_grad[0]:  # the same convolution with the filter turned round
            turned = weight.flip(2, 3)
            of_input = _convolution(grad, turned, None)
        of_weight = weight_gradient(x, grad, weight.shape[-1])
        of_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_input, of_weight, of_bias


class _AddNormMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, residual, x, norm_w, norm_b, w1, b1, w2, b2, gamma, eps):
        y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], norm_w, norm_b, eps)
        z = F.linear(y.view(-1, y.shape[-1]), w1, b1)
        out = torch.empty_like(y)
        for part, z_part in _parts(out.view(-1, out.shape[-1]), z):
            torch.addmm(b2, F.gelu(z_part), w2.T, out=part)
        # Folding gamma into w2 would read and write all weights several times: slower on a CPU.
        kept = None if gamma is None else out
        ctx.save_for_backward(x, norm_w, norm_b, w1, b1, w2, b2, gamma, mean, rstd, z, kept)
        ctx.eps = eps
        return residual + out if gamma is None else torch.addcmul(residual, out, gamma)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed, of_residual = ctx.needs_input_grad[1:], grad
        *inputs, mean, rstd, z, kept = ctx.saved_tensors
        if left_to_autograd(grad):
            branch = partial(_norm_mlp, ctx.eps)
            return of_residual, *by_autograd(branch, inputs, grad, needed), None
        x, norm_w, norm_b, w1, _, w2, _, gamma = inputs
        c = x.shape[-1]
        grad, of_gamma = grad.reshape(-1, c), None
        if gamma is not None:
            of_gamma = (grad * kept.view(-1, c)).sum(0) if needed[7] else None
            grad = grad * gamma
        y = F.layer_norm(x, (c,), norm_w, norm_b, ctx.eps).view(-1, c)
        of_y, sums = torch.empty_like(y), _Sums()
        for part, y_part, z_part, of_y_part in _parts(grad, y, z, of_y):
            if needed[5]:
                sums.add_product("w2", part, F.gelu(z_part))
            of_z = part @ w2
            torch.ops.aten.gelu_backward(of_z, z_part, grad_input=of_z)
            if needed[3]:
                sums.add_product("w1", of_z, y_part)
            if needed[4]:
                sums.add("b1", of_z.sum(0))
            torch.mm(of_z, w1, out=of_y_part)
        of_b2 = grad.sum(0) if needed[6] else None
        of_norm = torch.ops.aten.native_layer_norm_backward(
            of_y.view(x.shape), x, (c,), mean, rstd, norm_w, norm_b, needed[:3]
        )
        of_mlp = sums.get("w1"), sums.get("b1"), sums.get("w2"), of_b2
        return of_residual, *of_norm, *of_mlp, of_gamma, None


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


def _norm_mlp(eps: float, x, norm_w, norm_b, w1, b1, w2, b2, gamma) -> Tensor:
    y = F.layer_norm(x, x.shape[-1:], norm_w, norm_b, eps)
    y = F.linear(F.gelu(F.linear(y, w1, b1)), w2, b2)
    return y if gamma is None else y * gamma


class _Sums(dict):
    """Sums of tensors by name; the first summand is the sum, not added to zeros."""

    def add(self, name: str, value: Tensor) -> None:
        self[name] = self[name].add_(value) if name in self else value

    def add_product(self, name: str, one: Tensor, other: Tensor) -> None:
        self[name] = self[name].addmm_(one.T, other) if name in self else one.T @ other


def _parts(*rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of several matrices, few at a time, so that what is between them is small."""
    return zip(*(matrix.split(ROWS) for matrix in rows), strict=True)
