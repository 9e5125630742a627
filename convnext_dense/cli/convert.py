"""Rewrites a checkpoint in another library's parameter names."""

import argparse

from convnext_dense.runs.work_folder import resolve_checkpoint
from convnext_dense.weights import convert_file


def run(args: argparse.Namespace) -> None:
    """The command."""
    source = resolve_checkpoint(args.source)
    conversion = convert_file(source, args.target, args.to, ema=args.ema, force=args.force)
    print(f"{conversion} Written to {args.target}.")
