"""Looks at this environment: versions, GPU, operators, known-bad combinations and their fixes.

Exit code 0: usable; 2: something is broken. Runs also where torch or mmdet cannot be imported.
"""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
