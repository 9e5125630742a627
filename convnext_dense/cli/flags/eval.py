"""Evaluates a classifier beyond the validation set (docs/robustness.md)."""

import argparse

SUITES = ("val", "v2", "a", "r", "sketch", "real", "c", "cbar")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "checkpoint", help="file, work folder of a pretraining run, address or official name"
    )
    parser.add_argument("--data", required=True, help="folder of the suite, as it unpacks")
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument("--config", help="config instead of the one in the checkpoint")
    parser.add_argument("--ema", action="store_true", help="the averaged weights")
    parser.add_argument("--size", type=int, help="side of the tested images in pixels")
    parser.add_argument(
        "--corrupt", action="store_true", help="c, cbar: corrupt the images of a plain folder"
    )
    parser.add_argument("--corruptions", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--severities", nargs="+", type=int, default=(1, 2, 3, 4, 5), metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of --corrupt")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images of a folder")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--device", help="default: the GPU where there is one")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
