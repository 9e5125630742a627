"""Rewrites a ConvNeXt checkpoint in another library's parameter names.

    python tools/convert_weights.py SRC DST --to timm

SRC is a file, an https address or the name of an official file, in any known naming; DST ends in
.pth, .pt or .safetensors. Values stay as they are, bit for bit; what DST's naming cannot express
is listed.
"""

import argparse

from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.weights import convert_file
from convnext_dense.weights.namings import TARGETS


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("--to", required=True, choices=TARGETS, help="naming of the new file")
    parser.add_argument("--ema", action="store_true", help="take the averaged weights")
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")
    args = parser.parse_args()
    conversion = convert_file(args.source, args.target, args.to, ema=args.ema, force=args.force)
    print(f"{conversion} Written to {args.target}.")
