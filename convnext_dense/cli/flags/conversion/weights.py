"""Rewrites a ConvNeXt checkpoint in another library's parameter names: SRC DST --to timm.

SRC is a file, a work folder, an https address or the name of an official file, in any known
naming; DST ends in .pth, .pt or .safetensors. Values stay as they are, bit for bit; what DST's
naming cannot express is listed.
"""

import argparse

from convnext_dense.cli.shared.arguments import add_weights_prefix

TARGETS = ("ours", "official", "timm", "torchvision", "mmpretrain", "transformers")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("--to", required=True, choices=TARGETS, help="naming of the new file")
    parser.add_argument("--ema", action="store_true", help="take the averaged weights")
    add_weights_prefix(parser)
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")
