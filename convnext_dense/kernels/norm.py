"""Triton: the gradients of the LayerNorm after the convolution, and of the convolution's bias."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnext_dense.kernels.partial_sums import sum_partials
from convnext_dense.kernels.tiles import PROGRAMS, accumulator, split_channels

# Values of one step of a program: with 4 warps a thread holds 16 values of each of three sums.
ELEMENTS = 2048


@triton.jit(do_not_specialize=["PIXELS"])
def _norm_gradient_kernel(
    grad, conv, mean, rstd, ln_w, out, partial, PIXELS,
    C: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr, P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    tiles = tl.cdiv(PIXELS, P)
    # Sums of grad * normalised, grad, and the result: gain, shift and convolution bias.
    sums = ()
    for _ in tl.static_range(3 * CHUNKS):
        sums = sums + (tl.zeros([P, BLOCK], ACC),)
    tile = program
    while tile < tiles:
        pixels = tile * P + tl.arange(0, P)
        average = tl.load(mean + pixels, mask=pixels < PIXELS, other=0.0)[:, None]
        scale = tl.load(rstd + pixels, mask=pixels < PIXELS, other=0.0)[:, None]
        normalised = ()
        weighted = ()
        added = ()
        first = tl.zeros([P], ACC)
        second = tl.zeros([P], ACC)
        for chunk in tl.static_range(CHUNKS):
            channels = chunk * BLOCK + tl.arange(0, BLOCK)
            mask = (pixels < PIXELS)[:, None] & (channels < C)[None, :]
            there = pixels.to(tl.int64)[:, None] * C + channels[None, :]
            value = tl.load(conv + there, mask=mask, other=0.0).to(ACC)
            value = tl.where(mask, (value - average) * scale, 0.0)
            dy = tl.load(grad + there, mask=mask, other=0.0).to(ACC)
            gain = tl.load(ln_w + channels, mask=channels < C, other=0.0).to(ACC)
            product = dy * gain[None, :]
            first += tl.sum(product, 1)
            second += tl.sum(product * value, 1)
            normalised = normalised + (value,)
            weighted = weighted + (product,)
            added = added + (sums[3 * chunk] + dy * value, sums[3 * chunk + 1] + dy)
        sums_now = ()
        for chunk in tl.static_range(CHUNKS):
            channels = chunk * BLOCK + tl.arange(0, BLOCK)
            mask = (pixels < PIXELS)[:, None] & (channels < C)[None, :]
            there = pixels.to(tl.int64)[:, None] * C + channels[None, :]
            result = weighted[chunk] - first[:, None] / C
            result = (result - normalised[chunk] * (second[:, None] / C)) * scale
            result = tl.where(mask, result, 0.0)
            tl.store(out + there, result.to(out.dtype.element_ty), mask=mask)
            sums_now = sums_now + (
                added[2 * chunk], added[2 * chunk + 1], sums[3 * chunk + 2] + result
            )  # fmt: skip
        sums = sums_now
        tile += tl.num_programs(0)
    for chunk in tl.static_range(CHUNKS):
        channels = chunk * BLOCK + tl.arange(0, BLOCK)
        for kind in tl.static_range(3):
            there = (program * 3 + kind) * C + channels
            tl.store(partial + there, tl.sum(sums[3 * chunk + kind], 0), mask=channels < C)


def norm_gradients(
    grad: Tensor, conv: Tensor, mean: Tensor, rstd: Tensor, ln_w: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of LayerNorm.

    Args:
        grad: Gradient of its output, (N, H, W, C).
        conv: Its input, of the same shape.
        mean, rstd: Statistics of each pixel, (N, H, W).
        ln_w: Its gain, (C,).

    Returns:
        Gradient of its input, like ``conv``, and of gain, shift and the bias added before it,
        (3, C) in float32 (float64 for float64).
    """
    c = conv.shape[-1]
    pixels = mean.numel()
    if pixels == 0:
        return torch.empty_like(conv), mean.new_zeros((3, c))
    block, chunks = split_channels(c, 2048)
    p = max(1, ELEMENTS // triton.next_power_of_2(block * chunks))
    programs = max(1, min(triton.cdiv(pixels, p), PROGRAMS))
    out = torch.empty_like(conv)
    partial = mean.new_empty((programs, 3 * c))
    _norm_gradient_kernel[(programs,)](
        grad, conv, mean, rstd, ln_w, out, partial, pixels,
        C=c, BLOCK=block, CHUNKS=chunks, P=p, ACC=accumulator(conv.dtype),
        num_warps=8 if c > 1024 else 4,
    )  # fmt: skip
    return out, sum_partials(partial).view(3, c)
