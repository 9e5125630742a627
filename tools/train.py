#!/usr/bin/env python
"""Trains a detector or segmentor: python tools/train.py CONFIG."""

import argparse

from convnext_dense.engine import cli, custom_data, training


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    cli.add_config_arguments(parser)
    cli.add_training_arguments(parser)
    custom_data.add_arguments(parser)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over your own data (default: by its size)"
    )
    cli.add_launcher_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cli.set_local_rank(args.local_rank)
    training.train(args, custom_data.from_args(args, ("train", "val", "test")))


if __name__ == "__main__":
    cli.run_tool(main)
