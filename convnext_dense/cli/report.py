"""Writes one page about runs."""

import argparse
from pathlib import Path

from convnext_dense.config.shipped import CONFIGS
from convnext_dense.report.page import write_report


def run(args: argparse.Namespace) -> None:
    """The command."""
    runs = write_report(args.work_dirs, Path(args.out), CONFIGS)
    for run in runs:
        for note in run.notes:
            print(f"{run.name}: {note}")
    print(f"{len(runs)} runs: {args.out}")
