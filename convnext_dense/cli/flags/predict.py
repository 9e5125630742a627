"""Predicts an image or a folder of images: overlays, one JSON file, label images."""

import argparse

from convnext_dense.cli.shared import arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_argument(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("images", help="image or folder of images")
    parser.add_argument("--out", required=True, help="folder for overlays and predictions.json")
    parser.add_argument("--score-threshold", type=float, default=0.3)
    parser.add_argument("--device", help="cpu, cuda ... (default: the GPU where there is one)")
