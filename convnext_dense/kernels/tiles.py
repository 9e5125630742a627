"""How the kernels split their work: block sizes, configurations to choose from, and their keys.

Planned for an H100 or H200 (132 multiprocessors, 65,536 registers each) by counting. Registers and
shared memory were checked by compiling for each card (`python -m tests.kernels.resources`). Among
the configurations the fastest is chosen by autotuning on the GPU in use.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl

# The interpreter is not autotuned, and its cost is the number of operations, not their size: it has
# tiles of its own, with one block of channels, few columns (so that small images still have several
# tiles) and many rows.
INTERPRETED = bool(triton.knobs.runtime.interpret)

# Programs of a kernel that walks over all pixels and leaves partial sums: about four per
# multiprocessor. A constant, independent of the device, so that sums are the same on every GPU.
PROGRAMS = 512

# Largest number of channel blocks that a program handles one after another.
MOST_BLOCKS = 1 if INTERPRETED else 3


def split_channels(channels: int, largest: int) -> tuple[int, int]:
    """Splits C channels into at most ``MOST_BLOCKS`` equal blocks of a power of two.

    ConvNeXt's widths are often 3 * 2^k: one padded block would leave a quarter of the threads idle.

    Args:
        channels: C.
        largest: The largest block, itself a power of two.

    Returns:
        Size and number of the blocks with the least padding; of equal ones the fewest blocks. For
        more channels than three of the largest blocks hold, as many of those as are needed.
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
    """The type in which a kernel computes: float32; float64 for float64 (gradient checks)."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def size_bucket(pixels: int) -> int:
    """Autotuning key of H * W: the next power of two, since images of detection vary in size."""
    return triton.next_power_of_2(pixels)


def autotuned(
    configs: list[triton.Config],
    key: list[str],
    fits: Callable[[triton.Config, dict], bool] = lambda config, options: True,
):
    """Chooses the fastest configuration once per key; with deterministic algorithms the first.

    Two processes may choose differently and sum in another order. With torch's deterministic
    algorithms the first one is used without timing, so that repeated runs agree in every bit.

    Args:
        configs: The candidates; the last one is used where none fits.
        key: Names of the arguments for whose values a choice is remembered.
        fits: Whether a candidate is worth compiling for the launch's keyword arguments.
    """

    def candidates(configs, _arguments, **options):
        fitting = [config for config in configs if fits(config, options)] or configs[-1:]
        return fitting[:1] if torch.are_deterministic_algorithms_enabled() else fitting

    return triton.autotune(configs, key=key, prune_configs_by={"early_config_prune": candidates})


# The convolution. Each program computes TW columns of TH rows; one loaded column is used for up to
# seven of them. TW = 7 divides 56, 28, 14 and 7 (images of 224); 4 wastes less elsewhere.
# TH * C is kept near ELEMENTS, so that a thread holds TW * ELEMENTS / threads sums.
CONVOLUTION = [
    triton.Config(dict(TW=4, ELEMENTS=1024), num_warps=4),
    triton.Config(dict(TW=7, ELEMENTS=1024), num_warps=4),
    triton.Config(dict(TW=7, ELEMENTS=1024), num_warps=8),
    triton.Config(dict(TW=4, ELEMENTS=2048), num_warps=8),
]


def convolution_fits(config: triton.Config, options: dict) -> bool:
    """Whether a thread can hold its sums and a row of columns: 200 values in its 255 registers.

    With many channels one row is more than ELEMENTS, and registers would spill.
    """
    width, threads = config.kwargs["TW"], 32 * config.num_warps
    rows = max(1, config.kwargs["ELEMENTS"] // options["PADDED"])
    values_per_thread = rows * options["BLOCK"] / threads
    return values_per_thread * (width * options["CHUNKS"] + width + 6) <= 200


# The filter's gradient: columns, values and channels of a step. With 4 warps a thread holds two
# sums of each of the 49 taps, in 98 of its 255 registers. Not autotuned: another tile would sum in
# another order.
GRADIENT_TW, GRADIENT_ELEMENTS, GRADIENT_CHANNELS = 4, 256, 64

# The second stage of reductions: columns of a program, rows of a step.
SUM_COLUMNS, SUM_ROWS = 64, 32

if INTERPRETED:
    PROGRAMS = 2
    SUM_COLUMNS, SUM_ROWS = 8192, 1
    CONVOLUTION = [triton.Config(dict(TW=4, ELEMENTS=4096))]
    GRADIENT_TW, GRADIENT_ELEMENTS, GRADIENT_CHANNELS = 2, 4096, 1024

# Matrix products. BM is the same in all: the partial sums of the bias have one row per BM rows.
# STEP is the length of one step's row in bytes, not in values, so that every dtype needs the same
# shared memory: at most 96 KiB, which every card from compute capability 8.0 on has.
BM = 128
PRODUCT = [
    triton.Config(dict(BN=128, STEP=64), num_warps=8, num_stages=4),
    triton.Config(dict(BN=128, STEP=128), num_warps=8, num_stages=3),
    triton.Config(dict(BN=64, STEP=128), num_warps=4, num_stages=4),
    triton.Config(dict(BN=64, STEP=128), num_warps=8, num_stages=4),
]
if INTERPRETED:
    PRODUCT = [triton.Config(dict(BN=128, STEP=256))]
