"""Rewrites a ConvNeXt checkpoint in another library's parameter names.

    python tools/convert_weights.py SRC DST --to {ours,official,timm,torchvision,mmpretrain,...}

SRC is a file, an https address or the name of an official file, in any known naming; DST ends in
.pth, .pt or .safetensors. Values stay as they are, bit for bit.
"""

import argparse
import sys

from convnext_dense.errors import UserError
from convnext_dense.weights import convert_file
from convnext_dense.weights.namings import TARGETS


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("--to", required=True, choices=TARGETS, help="naming of the new file")
    parser.add_argument("--ema", action="store_true", help="take the averaged weights")
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")
    return parser.parse_args()


def main() -> int:
    """Converts, and says what was done and what was left out."""
    args = parse_args()
    try:
        conversion = convert_file(args.source, args.target, args.to, ema=args.ema, force=args.force)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{conversion} Written to {args.target}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
