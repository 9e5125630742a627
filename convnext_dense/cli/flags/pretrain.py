"""Trains a classifier.

Flags, logs and work folder are those of the command that trains detectors. The last line is the
command that hands the weights to a detector.
"""

import argparse

from convnext_dense.cli.shared import arguments, data_arguments, finetune_arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_arguments(parser)
    arguments.add_training_arguments(parser)
    finetune_arguments.add_finetune_arguments(parser, dense=False)
    data_arguments.add_class_data_arguments(parser)
    data_arguments.add_split_arguments(parser)
    arguments.add_launcher_arguments(parser)
