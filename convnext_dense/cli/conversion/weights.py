"""Rewrites a checkpoint in another library's parameter names."""

import argparse

from convnext_dense.runs.work_folder import resolve_checkpoint
from convnext_dense.weights import convert_file


def run(args: argparse.Namespace) -> None:
    """The command."""
    conversion = convert_file(
        resolve_checkpoint(args.source),
        args.target,
        args.to,
        ema=args.ema,
        force=args.force,
        prefix=args.weights_prefix,
    )
    print(f"{conversion} Written to {args.target}.")
