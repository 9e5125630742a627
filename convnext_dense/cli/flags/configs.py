"""Lists the configs that come with this package, or copies one with its bases to edit it."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this config alone")
    parser.add_argument(
        "--copy", metavar="DIR", help="copy NAME with its bases into a new folder, to edit it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
