"""Exports a trained model."""

import argparse

from convnext_dense.cli.shared.arguments import to_flags
from convnext_dense.export.run import BUILDS_ELSEWHERE, ExportFlags, export
from convnext_dense.export.targets import BUILD


def run(args: argparse.Namespace) -> None:
    """The command."""
    out, parity = export(to_flags(ExportFlags, args))
    print(parity.table())
    if args.to == BUILDS_ELSEWHERE:
        print(f"{out}: sh {out}/{BUILD} on the GPU that will run it")
    elif args.part:
        print(f"{out}: convnext_dense.load({str(out)!r}) gives the feature maps of an array")
    else:
        print(f"{out}: convnext-dense predict {out} IMAGE")
