#!/usr/bin/env python
"""Trains a detector or segmentor: python tools/train.py CONFIG."""

import argparse

from convnext_dense.engine import cli, training


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config_arguments(parser)
    cli.add_training_arguments(parser)
    cli.add_launcher_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cli.set_local_rank(args.local_rank)
    training.train(args)


if __name__ == "__main__":
    cli.run_tool(main)
