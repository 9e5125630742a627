#!/usr/bin/env python
"""Trains a detector or segmentor: python tools/train.py CONFIG."""

import argparse

from convnext_dense.cli import arguments, train
from convnext_dense.data import own_data


def parse_args() -> argparse.Namespace:
    parser = arguments.Parser(description=__doc__)
    arguments.add_config_arguments(parser)
    arguments.add_training_arguments(parser)
    own_data.add_arguments(parser)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over your own data (default: by its size)"
    )
    arguments.add_launcher_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    arguments.set_local_rank(args.local_rank)
    train.train(args, own_data.from_args(args, ("train", "val", "test")))


if __name__ == "__main__":
    arguments.run_tool(main)
