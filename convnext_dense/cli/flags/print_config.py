"""Prints a config with its bases and options, or writes it as plain YAML or JSON.

A Python config is executed by whoever loads it. YAML and JSON are data: all tools take them too.
"""

import argparse

from convnext_dense.cli.shared import arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_argument(parser)
    arguments.add_option_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help=".yaml, .yml, .json; default: print YAML")
