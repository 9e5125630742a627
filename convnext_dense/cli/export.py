"""Exports a trained model."""

import argparse

from convnext_dense.cli.shared.arguments import to_flags
from convnext_dense.export.run import ExportFlags, export


def run(args: argparse.Namespace) -> None:
    """The command."""
    out, parity = export(to_flags(ExportFlags, args))
    print(parity.table())
    print(f"{out}: convnext-dense predict {out} IMAGE")
