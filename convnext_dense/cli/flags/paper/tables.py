"""The paper's tables, and our figures beside them."""

import argparse

from convnext_dense.cli.flags.paper.paper import add_table_flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.set_defaults(subject="tables")
    add_table_flags(parser)
