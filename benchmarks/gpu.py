#!/usr/bin/env python
"""Checks and speed measurements on an NVIDIA GPU: python benchmarks/gpu.py --check.

The checks compare every path of the fused kernels, the operators and small versions of whole models
with plain torch, and take two minutes: benchmarks/gpu_checks. The speed lines compare our models
with the kernels, on the plain path, and a peer in interleaved rounds: benchmarks/speed.py. All
together take 8 minutes; parts that would start later are skipped, and the final tables say so.
Without --check only the speed lines run. Images are random: no dataset and no weights are read.
"""

import json
import os
import sys
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import torch
from gpu_checks import CHECKS
from processes import FOR_CHECKS, WITH_KERNELS, Row, Setting, make_groups
from report import check_table, choose, speed_table, verdict
from speed import LINES

from convnext_dense import kernels
from convnext_dense.cli.shared.parser import Parser
from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.errors import UserError

# Seconds for all checks, for everything, and for the parts still running at such a limit.
CHECKS_S, WHOLE_S, GRACE_S = 120, 480, 20
CHECK_S, LINE_S = 90, 240  # limits of one part; a line's networks may be compiled


def run_checks(names: list[str], args: Namespace, start: float) -> list[Row]:
    """The checks; with --device cpu in Triton's interpreter."""
    setting = Setting(
        device=args.device,
        begin=start,
        seconds=args.check_seconds,
        grace=GRACE_S,
        limit=CHECK_S if args.device == "cuda" else 10 * CHECK_S,
        variables=FOR_CHECKS[args.device],
    )
    return make_groups(names, setting, print_progress)


def run_lines(names: list[str], args: Namespace, start: float) -> list[Row]:
    """The speed lines, in one process: nothing else may run at the same time."""
    setting = Setting(
        device=args.device,
        begin=start,
        seconds=args.seconds - GRACE_S,
        grace=GRACE_S,
        limit=LINE_S,
        small=args.small,
        rounds=args.rounds,
        variables=WITH_KERNELS,
    )
    return make_groups(names, setting, print_progress)


def print_progress(row: Row) -> None:
    """Prints progress to stderr; the table follows at the end."""
    print(f"{row.name}: {row.state} {row.said}".rstrip(), file=sys.stderr, flush=True)


def parse() -> Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="the checks, then the speed lines")
    parser.add_argument("--only-checks", action="store_true", help="only the checks")
    parser.add_argument("--parts", nargs="+", metavar="TEXT", help="parts with this in their name")
    parser.add_argument("--list", action="store_true", help="print the names of all parts")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of a speed line")
    parser.add_argument("--small", action="store_true", help="tiny batches and images, for a trial")
    parser.add_argument("--check-seconds", type=float, default=CHECKS_S, metavar="S")
    parser.add_argument("--seconds", type=float, default=WHOLE_S, metavar="S", help="limit for all")
    parser.add_argument("--json", metavar="FILE", help="file for the rows")
    return parser.parse_args()


def main() -> None:
    args, start = parse(), time.time()
    os.environ |= WITH_KERNELS  # also where the user has set 0
    known = [*CHECKS, *LINES]
    if args.list:
        print("\n".join(known))
        return
    selected = known if args.check else list(CHECKS) if args.only_checks else list(LINES)
    names = choose(args.parts, known) if args.parts else selected
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "This needs an NVIDIA GPU, and there is none; --device cpu --small runs a trial."
        )
    checks = run_checks([name for name in names if name in CHECKS], args, start)
    lines = run_lines([name for name in names if name in LINES], args, start)
    if args.json:
        rows = [asdict(row) for row in (*checks, *lines)]
        Path(args.json).write_text(json.dumps(rows, indent=2) + "\n")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    parts = [f"{device}, torch {torch.__version__}, {time.time() - start:.0f} s in all"]
    parts += [check_table(checks)] if checks else []
    if lines:
        reason = kernels.available(args.device, torch.bfloat16).reason
        parts += [speed_table(lines), verdict(lines, reason)]
    print("\n".join(parts))
    if any(row.state == "FAILED" for row in checks):
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
