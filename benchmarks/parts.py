#!/usr/bin/env python
"""Measures what makes the backbone fast, each lever alone and all of them together.

The levers and the ways of computing each are in convnext_dense/benchmark/ablation/choices.py. All
ways of a lever
must give the same results (in float32, compared first), and are timed in interleaved rounds. The
ratio is the plain way's time over this one's, median and quartiles of the rounds: above 1 is
faster. Under 6 minutes on 2 CPU cores without --compile. Pictures are random, no data are read.
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
from convnext_dense.benchmark.ablation.choices import LEVERS, Lever, Way
from convnext_dense.benchmark.ablation.layers import Tensors
from convnext_dense.benchmark.memory import peak_of
from convnext_dense.benchmark.modes import AMP, Options
from convnext_dense.benchmark.throughput import parse_image_size
from convnext_dense.benchmark.timing import run_rounds, warm_up
from convnext_dense.cli.run_command import Parser, run_command
from convnext_dense.errors import UserError
from convnext_dense.models.staged_network import STRIDES
from convnext_dense.models.trunk import parse_arch

TOLERANCE = 1e-4  # of a tensor's norm, in float32
DEFAULTS = {"cpu": (1, "384", 8), "cuda": (64, "224", 5)}  # batch, picture, rounds
AT_ONCE = min(4, os.cpu_count() or 1)  # processes that measure memory: imports take most of theirs


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        ms: Median time of a step.
        ratio: Median over the rounds of the plain way's time over this one's.
        quartiles: First and third quartile of that.
        peak_memory_mb: See :func:`peak_of`; None where it was not measured.
        said: Why there are no numbers.
        failed: They should be there.
    """

    lever: str
    way: str
    ms: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    peak_memory_mb: float | None = None
    said: str = ""
    failed: bool = False


def measure(lever: Lever, arch: str, options: Options) -> list[Row]:
    """Measures the ways of a lever; what goes wrong is said in a row."""
    if lever.kernels:
        answer = kernels.available(options.device)
        if not answer:
            return [Row(lever.name, "all", said=answer.reason)]
        options = replace(options, amp="bf16")
    ways = [
        way
        for way in lever.ways
        if way.device in (None, options.device) and (options.compile or not way.compiled)
    ]
    options = replace(options, compile=False)  # of whole networks
    try:
        check_same(lever, ways, arch, options)
        steps = [way.make(arch, options) for way in ways]
        counts = [warm_up(step, options.device).count for step in steps]
        seconds = run_rounds(steps, counts, options.rounds, options.device)
        del steps
        gc.collect()
        torch.cuda.empty_cache()  # the processes that measure memory need the room
        with ThreadPoolExecutor(AT_ONCE) as pool:
            memory = list(pool.map(partial(_peak, lever, arch, options), ways))
    except (UserError, RuntimeError, ImportError) as error:
        return [Row(lever.name, "all", said=" ".join(str(error).split())[:200], failed=True)]
    return [
        Row(lever.name, way.name, float(np.median(taken)) * 1000, *_ratio(seconds[0] / taken), peak)
        for way, taken, peak in zip(ways, seconds, memory, strict=True)
    ]


def check_same(lever: Lever, ways: Sequence[Way], arch: str, options: Options) -> None:
    """Compares what each way returns with what the plain one does, in float32.

    Raises:
        UserError: Where a tensor differs by more than ``TOLERANCE`` of its norm.
    """
    options = replace(options, amp="off")
    if lever.random:
        options = replace(options, device="cpu", batch_size=1)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 is good to 1e-3 only
        expected = way_results(ways[0].make(arch, options))
        for way in ways[1:]:
            found = way_results(way.make(arch, options))
            for wanted, got in zip(expected, found, strict=True):
                error = ((got - wanted).norm() / wanted.norm()).item()
                if not error <= TOLERANCE:  # also where it is NaN
                    raise UserError(
                        f"{way.name!r} differs from {ways[0].name!r} by {error:.1e} of the norm "
                        f"({TOLERANCE:.0e} is allowed): these are two functions, and their speeds "
                        "say nothing."
                    )


def way_results(step: Tensors) -> list[torch.Tensor]:
    """What the first step returns."""
    return [tensor.detach() for tensor in step()]


def _peak(lever: Lever, arch: str, options: Options, way: Way) -> float | None:
    """A compiler's memory on the CPU is not the network's."""
    if not lever.memory or (way.compiled and options.device == "cpu"):
        return None
    return peak_of(partial(way.make, arch, options), options.device)


def _ratio(ratios: np.ndarray) -> tuple[float, tuple[float, float]]:
    low, median, high = np.percentile(ratios, (25, 50, 75)).tolist()
    return median, (low, high)


def table(rows: Sequence[Row]) -> str:
    """Plain text: each lever, and its ways below it."""
    text, lever = [f"{'':44}{'ms':>9}{'ratio':>8}  {'(quartiles)':16}{'peak MiB':>9}"], None
    for row in rows:
        if row.lever != lever:
            text.append(lever := row.lever)
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
        UserError: For what cannot be measured.
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
            "--amp is for NVIDIA GPUs: under autocast a CPU takes the plain path, and most ways "
            "would be the same one."
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
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="levers with this in their name")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    options, start = settings(args), time.time()
    chosen = [one for one in LEVERS if not args.only or any(text in one.name for text in args.only)]
    if not chosen:
        names = "; ".join(lever.name for lever in LEVERS)
        raise UserError(f"No lever has {' or '.join(args.only)} in its name: {names}.")
    rows = [row for lever in chosen for row in measure(lever, args.arch, options)]
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
        raise UserError(f"Not measured: {', '.join(failed)}; the table says why.")


if __name__ == "__main__":
    run_command(main)
