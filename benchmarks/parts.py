#!/usr/bin/env python
"""Measures the choices that make the backbone fast, each alone and all of them together.

The choices and their implementations are in convnext_dense/benchmark/ablation/choices.py. All
implementations of a choice must give the same results (in float32, compared first), and are timed
in interleaved rounds. The ratio is the plain one's time over this one's, median and quartiles of
the rounds: above 1 is faster. Under 6 minutes on 2 CPU cores without --compile. Images are random:
no dataset is read.
"""

import gc
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from convnext_dense import kernels
from convnext_dense.benchmark.ablation.choices import CHOICES, Choice, Implementation
from convnext_dense.benchmark.ablation.layers import TensorStep
from convnext_dense.benchmark.memory import peak_of
from convnext_dense.benchmark.modes import AMP, Options
from convnext_dense.benchmark.throughput import parse_image_size
from convnext_dense.benchmark.timing import run_rounds, warm_up
from convnext_dense.cli.shared.parser import Parser
from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.errors import UserError
from convnext_dense.models.staged_network import STRIDES
from convnext_dense.models.trunk import parse_arch

TOLERANCE = 1e-4  # of a tensor's norm, in float32
DEFAULTS = {"cpu": (1, "384", 8), "cuda": (64, "224", 5)}  # batch size, image size, rounds
# Processes that measure memory at the same time: they spend most of their time on imports.
AT_ONCE = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Row:
    """A line of the table; the names are also keys of the JSON file.

    Attributes:
        lever: The choice.
        way: The implementation.
        ms: Median time of a step.
        ratio: Median over the rounds of the plain implementation's time over this one's.
        quartiles: First and third quartile of that.
        peak_memory_mb: See :func:`peak_of`; None where it was not measured.
        said: The reason why there are no numbers.
        failed: Whether the missing numbers are an error.
    """

    lever: str
    way: str
    ms: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    peak_memory_mb: float | None = None
    said: str = ""
    failed: bool = False


def measure(choice: Choice, arch: str, options: Options) -> list[Row]:
    """Measures the implementations of a choice; errors are reported in a row."""
    if choice.kernels:
        answer = kernels.available(options.device)
        if not answer:
            return [Row(choice.name, "all", said=answer.reason)]
        options = replace(options, amp="bf16")
    implementations = [
        one
        for one in choice.implementations
        if one.device in (None, options.device) and (options.compile or not one.compiled)
    ]
    options = replace(options, compile=False)  # this option compiles whole networks
    try:
        check_same(choice, implementations, arch, options)
        steps = [implementation.make(arch, options) for implementation in implementations]
        counts = [warm_up(step, options.device).count for step in steps]
        seconds = run_rounds(steps, counts, options.rounds, options.device)
        del steps
        gc.collect()
        torch.cuda.empty_cache()  # for the processes that measure memory
        with ThreadPoolExecutor(AT_ONCE) as pool:
            memory = list(pool.map(partial(_peak, choice, arch, options), implementations))
    except (UserError, RuntimeError, ImportError) as error:
        return [Row(choice.name, "all", said=" ".join(str(error).split())[:200], failed=True)]
    return [
        Row(
            choice.name,
            implementation.name,
            float(np.median(times)) * 1000,
            *_median_and_quartiles(seconds[0] / times),
            peak,
        )
        for implementation, times, peak in zip(implementations, seconds, memory, strict=True)
    ]


def check_same(
    choice: Choice, implementations: Sequence[Implementation], arch: str, options: Options
) -> None:
    """Compares the results of each implementation with those of the plain one, in float32.

    Raises:
        UserError: Where a tensor differs by more than ``TOLERANCE`` of its norm.
    """
    options = replace(options, amp="off")
    if choice.random:
        options = replace(options, device="cpu", batch_size=1)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 errors reach 1e-3
        plain = implementations[0]
        expected = first_results(plain.make(arch, options))
        for implementation in implementations[1:]:
            results = first_results(implementation.make(arch, options))
            for reference, result in zip(expected, results, strict=True):
                error = ((result - reference).norm() / reference.norm()).item()
                if not error <= TOLERANCE:  # also where it is NaN
                    raise UserError(
                        f"{implementation.name!r} differs from {plain.name!r} by {error:.1e} of "
                        f"the norm ({TOLERANCE:.0e} is allowed): these are two functions, and "
                        "their speeds cannot be compared."
                    )


def first_results(step: TensorStep) -> list[torch.Tensor]:
    """The results of the first step."""
    return [tensor.detach() for tensor in step()]


def _peak(
    choice: Choice, arch: str, options: Options, implementation: Implementation
) -> float | None:
    """Peak memory; None for compiled networks on a CPU, where the compiler's would be included."""
    if not choice.memory or (implementation.compiled and options.device == "cpu"):
        return None
    return peak_of(partial(implementation.make, arch, options), options.device)


def _median_and_quartiles(ratios: np.ndarray) -> tuple[float, tuple[float, float]]:
    low, median, high = np.percentile(ratios, (25, 50, 75)).tolist()
    return median, (low, high)


def table(rows: Sequence[Row]) -> str:
    """Plain text: each choice, and its implementations below it."""
    text, choice = [f"{'':44}{'ms':>9}{'ratio':>8}  {'(quartiles)':16}{'peak MiB':>9}"], None
    for row in rows:
        if row.lever != choice:
            text.append(choice := row.lever)
        if row.said:
            text.append(f"  {row.way:42}{row.said}")
            continue
        memory = "-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"
        low, high = row.quartiles
        spread = f"({low:.2f} to {high:.2f})"
        text.append(f"  {row.way:42}{row.ms:9.2f}{row.ratio:8.3f}  {spread:16}{memory:>9}")
    return "\n".join(text)


def settings(args) -> Options:
    """The options of the command line.

    Raises:
        UserError: For options that cannot be measured.
    """
    parse_arch(args.arch)
    batch, size, rounds = DEFAULTS[args.device]
    options = Options(
        device=args.device,
        amp=args.amp,
        compile=args.compile,
        batch_size=batch if args.batch_size is None else args.batch_size,
        image_size=parse_image_size(args.image_size or size),
        rounds=rounds if args.rounds is None else args.rounds,
    )
    if min(options.image_size) < STRIDES[-1]:
        raise UserError(f"--image-size must be at least {STRIDES[-1]}, got {args.image_size}.")
    if options.amp != "off" and options.device == "cpu":
        raise UserError(
            "--amp is for NVIDIA GPUs: under autocast a CPU takes the plain path, and most "
            "implementations would be the same one."
        )
    return options


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=tuple(DEFAULTS), default="cpu")
    parser.add_argument("--arch", default="tiny", help="a variant: atto to xlarge")
    parser.add_argument("--batch-size", type=int, help="default: 1, on a GPU 64")
    parser.add_argument("--image-size", metavar="S|HxW", help="default: 384, on a GPU 224")
    parser.add_argument("--rounds", type=int, help="default: 8, on a GPU 5")
    parser.add_argument("--amp", choices=tuple(AMP), default="off", help="on a GPU")
    parser.add_argument("--compile", action="store_true", help="blocks compiled too; needs g++")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="choices with this in their name")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    options, start = settings(args), time.time()
    chosen = [
        choice
        for choice in CHOICES
        if not args.only or any(text in choice.name for text in args.only)
    ]
    if not chosen:
        names = "; ".join(choice.name for choice in CHOICES)
        raise UserError(f"No choice has {' or '.join(args.only)} in its name: {names}.")
    rows = [row for choice in chosen for row in measure(choice, args.arch, options)]
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    height, width = options.image_size
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(
        f"{table(rows)}\n{args.arch}, {options.batch_size} x 3 x {height} x {width}, amp "
        f"{options.amp}, {options.rounds} rounds; torch {torch.__version__}, {device}, "
        f"{torch.get_num_threads()} threads; {time.time() - start:.0f} s in all"
    )
    if failed := [row.lever for row in rows if row.failed]:
        raise UserError(f"Not measured: {', '.join(failed)}; the table has the reasons.")


if __name__ == "__main__":
    run_command(main)
