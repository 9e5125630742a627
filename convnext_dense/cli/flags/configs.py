"""Lists the configs that come with this package, or copies one with its bases to edit it."""

import argparse

from convnext_dense.cli.shared import arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    name = parser.add_argument("name", nargs="?", metavar="NAME", help="show this config alone")
    name.completer = arguments.complete_config
    parser.add_argument(
        "--copy", metavar="DIR", help="copy NAME with its bases into a new folder, to edit it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
