"""How the kernels cut their work: block sizes, configurations to choose from, and their keys.

Planned for an H100 or H200 (132 multiprocessors, 65,536 registers each) by counting; registers and
shared memory come from compiling for each card (`python -m tests.kernels.resources`), the choice
between the configurations from timing them once on the machine at hand.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl

# The interpreter has nothing to time, and its cost is the number of operations, not their size:
# it takes tiles of its own, one block of channels, few columns (small pictures still have several
# tiles) and many rows.
INTERPRETED = bool(triton.knobs.runtime.interpret)

# Programs of a kernel that walks over all pixels and leaves partial sums: about four per
# multiprocessor. A constant, not the device's count, so that sums are the same on every GPU.
PROGRAMS = 512

# Blocks of channels that a program handles in turn.
MOST_BLOCKS = 1 if INTERPRETED else 3


def split_channels(channels: int, largest: int) -> tuple[int, int]:
    """Cuts C channels into at most ``MOST_BLOCKS`` equal blocks of a power of two.

    ConvNeXt's widths are often 3 * 2^k: one padded block would idle a quarter of the threads.

    Args:
        channels: C.
        largest: The largest block, itself a power of two.

    Returns:
        Size and number of the blocks that pad least; the fewest blocks among those. Where three of
        the largest do not reach, as many of the largest as it takes.
    """
    whole = min(triton.next_power_of_2(channels), largest)
    sizes = [
        size
        for size in (whole, whole // 2, whole // 4)
        if size >= 16 and MOST_BLOCKS * size >= channels
    ]
    block = min(
        sizes or [max(16, whole)], key=lambda size: (triton.cdiv(channels, size) * size, -size)
    )
    return block, triton.cdiv(channels, block)


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """What a kernel computes in: float32, and float64 only for float64 (the gradient checks)."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def size_class(pixels: int) -> int:
    """Key of the timing: the power of two above H * W, since detection brings new sizes always."""
    return triton.next_power_of_2(pixels)


def timed(
    configs: list[triton.Config],
    key: list[str],
    fits: Callable[[triton.Config, dict], bool] = lambda config, options: True,
):
    """Chooses among configurations by timing, once per key; the first where that must not be.

    Two processes may choose differently, and sum in another order. Where torch is told to use
    deterministic algorithms the first is taken, so that a repeated run repeats its last bits.

    Args:
        configs: The candidates; the last of them is taken where none fits.
        key: Names of the arguments a choice is kept for.
        fits: Whether a candidate is worth compiling for the launch's keyword arguments.
    """

    def candidates(configs, _arguments, **options):
        fitting = [config for config in configs if fits(config, options)] or configs[-1:]
        return fitting[:1] if torch.are_deterministic_algorithms_enabled() else fitting

    return triton.autotune(configs, key=key, prune_configs_by={"early_config_prune": candidates})


# The convolution. Each program makes TW columns of TH rows; one loaded column serves up to seven
# of them. TW = 7 divides 56, 28, 14 and 7 (pictures of 224), 4 wastes less elsewhere.
# TH * C is kept near ELEMENTS, so that a thread holds TW * ELEMENTS / threads sums.
CONVOLUTION = [
    triton.Config(dict(TW=4, ELEMENTS=1024), num_warps=4),
    triton.Config(dict(TW=7, ELEMENTS=1024), num_warps=4),
    triton.Config(dict(TW=7, ELEMENTS=1024), num_warps=8),
    triton.Config(dict(TW=4, ELEMENTS=2048), num_warps=8),
]


def convolution_fits(config: triton.Config, options: dict) -> bool:
    """Whether a thread can hold its sums and a row of columns: 200 values of its 255 registers.

    One row of a wide picture is more than ELEMENTS; what does not fit would spill.
    """
    width, threads = config.kwargs["TW"], 32 * config.num_warps
    rows = max(1, config.kwargs["ELEMENTS"] // options["PADDED"])
    each = rows * options["BLOCK"] / threads
    return each * (width * options["CHUNKS"] + width + 6) <= 200


# The filter's gradient: columns, values and channels of a step. With 4 warps a thread holds two
# sums of each of the 49 taps, 98 of its 255 registers. One tile, not timed: another one would sum
# in another order.
GRADIENT_TW, GRADIENT_ELEMENTS, GRADIENT_CHANNELS = 4, 256, 64

# The second stage: columns of a program, rows of a step.
SUM_COLUMNS, SUM_ROWS = 64, 32

if INTERPRETED:
    PROGRAMS = 2
    SUM_COLUMNS, SUM_ROWS = 8192, 1
    CONVOLUTION = [triton.Config(dict(TW=4, ELEMENTS=4096))]
    GRADIENT_TW, GRADIENT_ELEMENTS, GRADIENT_CHANNELS = 2, 4096, 1024

# Matrix products. BM is the same in all: the partial sums of the bias are one row per BM rows.
# STEP is the length of a row of one step in bytes, not in values: shared memory is the same for
# every dtype then, at most 96 KiB, which every card from compute capability 8.0 on has.
BM = 128
PRODUCT = [
    triton.Config(dict(BN=128, STEP=64), num_warps=8, num_stages=4),
    triton.Config(dict(BN=128, STEP=128), num_warps=8, num_stages=3),
    triton.Config(dict(BN=64, STEP=128), num_warps=4, num_stages=4),
    triton.Config(dict(BN=64, STEP=128), num_warps=8, num_stages=4),
]
if INTERPRETED:
    PRODUCT = [triton.Config(dict(BN=128, STEP=256))]
