"""Prints the optimizer's parameter groups of a config and draws their rates over the training.

Needs no data. Where it is not there, heads have their library's default number of classes, and the
length of an epoch is the published COCO's or assumed; the answer says which.
"""

import argparse

from convnext_dense.cli.shared import arguments, finetune_arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_arguments(parser)
    finetune_arguments.add_trained_parts_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    parser.add_argument(
        "--out", metavar="PNG", help="the curve (default: work_dirs/print_lr/<config>.png)"
    )
