"""Trains a detector or segmentor."""

import argparse

from convnext_dense.cli.shared import arguments, data_arguments, finetune_arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_arguments(parser)
    arguments.add_training_arguments(parser)
    finetune_arguments.add_finetune_arguments(parser)
    data_arguments.add_own_data_arguments(parser)
    data_arguments.add_split_arguments(parser)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over your own data (default: by its size)"
    )
    arguments.add_launcher_arguments(parser)
