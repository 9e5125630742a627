#!/usr/bin/env python
"""Checks and measures what needs an NVIDIA GPU: python benchmarks/gpu.py --check.

The checks compare every path of the fused kernels, the operators and miniatures of whole models
with plain torch, and take two minutes: benchmarks/gpu_checks. The speed lines put ours with the
kernels beside our plain path and a peer, in interleaved rounds: benchmarks/speed.py. All of it
takes 8 minutes; what comes later is not started, and the tables, which come last, say so. Without
--check there are the speed lines alone. Pictures are random: no data and no weights are read.
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
from processes import ASKED_FOR, FOR_CHECKS, Row, Setting, make_groups
from report import check_table, choose, speed_table, verdict
from speed import LINES

from convnext_dense import kernels
from convnext_dense.cli.run_command import Parser, run_command
from convnext_dense.errors import UserError

# Seconds for all checks, for all of it, and for what runs when a time is over.
CHECKS_S, WHOLE_S, GRACE_S = 120, 480, 20
CHECK_S, LINE_S = 90, 240  # limits of one; the networks of a line may have to be compiled


def run_checks(names: list[str], args: Namespace, start: float) -> list[Row]:
    """The checks; where no GPU is asked for, in the interpreter."""
    setting = Setting(
        device=args.device,
        begin=start,
        seconds=args.check_seconds,
        grace=GRACE_S,
        limit=CHECK_S if args.device == "cuda" else 10 * CHECK_S,
        variables=FOR_CHECKS[args.device],
    )
    return make_groups(names, setting, tell)


def run_lines(names: list[str], args: Namespace, start: float) -> list[Row]:
    """The speed lines, in one process: nothing else may run beside them."""
    setting = Setting(
        device=args.device,
        begin=start,
        seconds=args.seconds - GRACE_S,
        grace=GRACE_S,
        limit=LINE_S,
        small=args.small,
        rounds=args.rounds,
        variables=ASKED_FOR,
    )
    return make_groups(names, setting, tell)


def tell(row: Row) -> None:
    """Progress, on the side: the table comes last."""
    print(f"{row.name}: {row.state} {row.said}".rstrip(), file=sys.stderr, flush=True)


def parse() -> Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="the checks, then the speed lines")
    parser.add_argument("--only-checks", action="store_true", help="the checks alone")
    parser.add_argument("--parts", nargs="+", metavar="TEXT", help="parts with this in their name")
    parser.add_argument("--list", action="store_true", help="print the names of all parts")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=5, help="of a speed line")
    parser.add_argument("--small", action="store_true", help="tiny batches and pictures, to try it")
    parser.add_argument("--check-seconds", type=float, default=CHECKS_S, metavar="S")
    parser.add_argument("--seconds", type=float, default=WHOLE_S, metavar="S", help="for all of it")
    parser.add_argument("--json", metavar="FILE", help="the rows")
    return parser.parse_args()


def main() -> None:
    args, start = parse(), time.time()
    os.environ |= ASKED_FOR  # a user's 0 is for other programs
    known = [*CHECKS, *LINES]
    if args.list:
        print("\n".join(known))
        return
    wanted = known if args.check else list(CHECKS) if args.only_checks else list(LINES)
    names = choose(args.parts, known) if args.parts else wanted
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "This is for an NVIDIA GPU, and there is none; --device cpu --small tries it."
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
