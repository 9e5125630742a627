"""Draws augmented samples of a dataset, as the model gets them, and its statistics."""

import argparse

from convnext_dense.cli.shared import arguments, data_arguments, finetune_arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_arguments(parser)
    parser.add_argument("--out", required=True, help="folder for images and statistics")
    parser.add_argument("--number", type=int, default=16, metavar="N", help="samples to draw")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--seed", type=int, default=0, help="settles the samples")
    finetune_arguments.add_augment_argument(parser)
    data_arguments.add_own_data_arguments(parser)
