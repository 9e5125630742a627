"""Triton: the depthwise 7x7 convolution with its bias and the LayerNorm after it, and gradients.

All feature maps are (N, H, W, C), contiguous. Filters are (49, C), so that neighbouring threads
read neighbouring channels. A program keeps its sums in registers as tuples of tensors: Triton
cannot shift along a register axis, and a tuple's index is known at compile time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnext_dense.kernels.partial_sums import sum_partials
from convnext_dense.kernels.tiles import (
    CONVOLUTION,
    GRADIENT_CHANNELS,
    GRADIENT_ELEMENTS,
    GRADIENT_TW,
    PROGRAMS,
    accumulator,
    autotuned,
    convolution_fits,
    size_bucket,
    split_channels,
)

TAPS = 49


@triton.jit
def _columns(
    x, rows, left, channels, H, W, C: tl.constexpr, COUNT: tl.constexpr, ACC: tl.constexpr
):
    """COUNT columns from `left` on, each (rows, channels); zero outside the image."""
    inside = ((rows >= 0) & (rows < H))[:, None] & (channels < C)[None, :]
    start = x + (rows * W + left)[:, None] * C + channels[None, :]
    columns = ()
    # One pointer plus constants: a pointer for each column would take too many registers.
    for j in tl.static_range(COUNT):
        mask = inside & (left + j >= 0) & (left + j < W)
        columns = columns + (tl.load(start + j * C, mask=mask, other=0.0).to(ACC),)
    return columns


@triton.jit
def _tile(H, W, TH: tl.constexpr, TW: tl.constexpr, tile):
    """Image, first row and first column of a tile; tiles are numbered along a row first."""
    across = tl.cdiv(W, TW)
    down = tl.cdiv(H, TH)
    return tile // (across * down), tile // across % down * TH, tile % across * TW


@triton.jit
def _convolve(
    x, w, b, top, left, channels, H, W,
    C: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, FLIP: tl.constexpr, BIAS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """TW columns of the output, each (TH, channels)."""
    rows = top + tl.arange(0, TH)
    bias = tl.zeros([1], ACC)
    if BIAS:
        bias = tl.load(b + channels, mask=channels < C, other=0.0).to(ACC)
    sums = ()
    for _ in tl.static_range(TW):
        sums = sums + (tl.zeros([TH, channels.shape[0]], ACC) + bias[None, :],)
    # Not unrolled: with three blocks of channels the unrolled loop would compile for minutes.
    for kh in range(7):
        columns = _columns(x, rows + (kh - 3), left - 3, channels, H, W, C, TW + 6, ACC)
        for kw in tl.static_range(7):
            tap = 48 - (kh * 7 + kw) if FLIP else kh * 7 + kw
            weight = tl.load(w + tap * C + channels, mask=channels < C, other=0.0).to(ACC)[None, :]
            added = ()
            for i in tl.static_range(TW):
                added = added + (sums[i] + columns[i + kw] * weight,)
            sums = added
    return sums


@autotuned(CONVOLUTION, key=["C", "SIZE", "NORM", "SAVE"], fits=convolution_fits)
@triton.heuristics({"TH": lambda a: max(1, a["ELEMENTS"] // a["PADDED"])})
@triton.jit(do_not_specialize=["H", "W", "SIZE"])
def _convolution_kernel(
    x, w, b, ln_w, ln_b, y, conv, mean, rstd, H, W, SIZE,
    C: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
    PADDED: tl.constexpr, FLIP: tl.constexpr, NORM: tl.constexpr, SAVE: tl.constexpr,
    ACC: tl.constexpr, ELEMENTS: tl.constexpr, TW: tl.constexpr, TH: tl.constexpr,
):  # fmt: skip
    image, top, left = _tile(H, W, TH, TW, tl.program_id(0))
    pixel = image.to(tl.int64) * H * W
    first = tl.program_id(1) * BLOCK * CHUNKS
    outputs = ()
    for chunk in tl.static_range(CHUNKS):
        channels = first + chunk * BLOCK + tl.arange(0, BLOCK)
        outputs = outputs + _convolve(
            x + pixel * C, w, b, top, left, channels, H, W, C, TH, TW, FLIP, NORM, ACC
        )  # fmt: skip
    rows = top + tl.arange(0, TH)
    for i in tl.static_range(TW):
        position = pixel + rows * W + (left + i)
        inside = (rows < H) & (left + i < W)
        if NORM:
            total = tl.zeros([TH], ACC)
            for chunk in tl.static_range(CHUNKS):
                total += tl.sum(outputs[chunk * TW + i], 1)
            average = total / C
            total = tl.zeros([TH], ACC)
            for chunk in tl.static_range(CHUNKS):
                channels = first + chunk * BLOCK + tl.arange(0, BLOCK)
                centred = outputs[chunk * TW + i] - average[:, None]
                total += tl.sum(tl.where((channels < C)[None, :], centred * centred, 0.0), 1)
            scale = 1.0 / tl.sqrt(total / C + EPS)
            if SAVE:
                tl.store(mean + position, average, mask=inside)
                tl.store(rstd + position, scale, mask=inside)
        for chunk in tl.static_range(CHUNKS):
            channels = first + chunk * BLOCK + tl.arange(0, BLOCK)
            there = position[:, None] * C + channels[None, :]
            mask = inside[:, None] & (channels < C)[None, :]
            output = outputs[chunk * TW + i]
            if SAVE:
                tl.store(conv + there, output.to(conv.dtype.element_ty), mask=mask)
            if NORM:
                gain = tl.load(ln_w + channels, mask=channels < C, other=0.0).to(ACC)
                shift = tl.load(ln_b + channels, mask=channels < C, other=0.0).to(ACC)
                output = (output - average[:, None]) * scale[:, None] * gain[None, :]
                output += shift[None, :]
            tl.store(y + there, output.to(y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["N", "H", "W"])
def _filter_gradient_kernel(
    x, grad, partial, N, H, W,
    C: tl.constexpr, BLOCK: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    group = tl.program_id(1)
    tiles = N * tl.cdiv(H, TH) * tl.cdiv(W, TW)
    # Neighbouring tiles go to one program: they share most of the values they read.
    each = tl.cdiv(tiles, tl.num_programs(1))
    tile = group * each
    stop = tl.minimum(tile + each, tiles)
    sums = ()
    for _ in tl.static_range(49):
        sums = sums + (tl.zeros([TH, BLOCK], ACC),)
    while tile < stop:
        image, top, left = _tile(H, W, TH, TW, tile)
        start = image.to(tl.int64) * H * W * C
        rows = top + tl.arange(0, TH)
        outer = _columns(grad + start, rows, left, channels, H, W, C, TW, ACC)
        added = ()
        for kh in tl.static_range(7):
            inner = _columns(x + start, rows + (kh - 3), left - 3, channels, H, W, C, TW + 6, ACC)
            for kw in tl.static_range(7):
                value = sums[kh * 7 + kw]
                for i in tl.static_range(TW):
                    value += outer[i] * inner[i + kw]
                added = added + (value,)
        sums = added
        tile += 1
    for tap in tl.static_range(49):
        there = (group.to(tl.int64) * 49 + tap) * C + channels
        tl.store(partial + there, tl.sum(sums[tap], 0), mask=channels < C)


def convolve_and_normalise(
    x: Tensor, w: Tensor, b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float, save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depthwise 7x7, its bias and LayerNorm in one kernel.

    Args:
        x: (N, H, W, C).
        w: The filters, (C, 1, 7, 7).
        b, ln_w, ln_b: (C,).
        eps: Added to the variance.
        save: Also write the tensors that the backward pass needs.

    Returns:
        The result, the convolution's output (both like ``x``), mean and reciprocal standard
        deviation of each pixel (N, H, W); without ``save`` the last three are empty.
    """
    y = torch.empty_like(x)
    conv = torch.empty_like(x if save else x[:0])
    accuracy = torch.promote_types(x.dtype, torch.float32)
    mean, rstd = (conv.new_empty(conv.shape[:3], dtype=accuracy) for _ in range(2))
    _launch(x, w, (b, ln_w, ln_b, y, conv, mean, rstd), eps, FLIP=False, NORM=True, SAVE=save)
    return y, conv, mean, rstd


def input_gradient(grad: Tensor, w: Tensor) -> Tensor:
    """Gradient of the convolution's input, (N, H, W, C): a forward with the flipped filters."""
    out = torch.empty_like(grad)
    unused = (grad, grad, grad, out, grad, grad, grad)
    _launch(grad, w, unused, 0.0, FLIP=True, NORM=False, SAVE=False)
    return out


def _launch(x: Tensor, w: Tensor, others: tuple[Tensor, ...], eps: float, **flags: bool) -> None:
    n, h, width, c = x.shape
    if x.numel() == 0:  # autotuning an empty launch would choose a configuration by noise
        return
    # A LayerNorm needs all channels of a pixel in one program; for the gradient each program has
    # one block of channels.
    block, chunks = split_channels(c, 2048 if flags["NORM"] else GRADIENT_CHANNELS)
    programs = 1 if flags["NORM"] else chunks
    chunks = chunks // programs

    def grid(meta):
        tiles = n * triton.cdiv(h, meta["TH"]) * triton.cdiv(width, meta["TW"])
        return tiles, programs

    _convolution_kernel[grid](
        x, _filters_by_tap(w), *others, h, width, size_bucket(h * width),
        C=c, EPS=eps, BLOCK=block, CHUNKS=chunks, PADDED=triton.next_power_of_2(block * chunks),
        ACC=accumulator(x.dtype), **flags,
    )  # fmt: skip


def filter_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the filters, (C, 1, 7, 7), in float32 (float64 for float64).

    49 sums per channel stay in registers while a program walks over its tiles; the programs'
    sums are then added in a fixed order. Without atomics two runs agree in every bit.

    Args:
        x: The convolution's input, (N, H, W, C).
        grad: Gradient of its output, of the same shape.
    """
    n, h, width, c = x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)
    if x.numel() == 0:
        return x.new_zeros((c, 1, 7, 7), dtype=dtype)
    block, chunks = split_channels(c, GRADIENT_CHANNELS)
    th = GRADIENT_ELEMENTS // block
    tiles = n * triton.cdiv(h, th) * triton.cdiv(width, GRADIENT_TW)
    groups = max(1, min(tiles, PROGRAMS // chunks))
    partial = x.new_empty((groups, TAPS * c), dtype=dtype)
    _filter_gradient_kernel[(chunks, groups)](
        x, grad, partial, n, h, width,
        C=c, BLOCK=block, TH=th, TW=GRADIENT_TW, ACC=accumulator(x.dtype), num_warps=4,
    )  # fmt: skip
    return sum_partials(partial).view(TAPS, c).t().reshape(c, 1, 7, 7)


def _filters_by_tap(w: Tensor) -> Tensor:
    """(C, 1, 7, 7) filters as (49, C)."""
    return w.reshape(w.shape[0], TAPS).t().contiguous()
