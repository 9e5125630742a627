#!/usr/bin/env python
"""The paper's tables beside ours: python tools/paper.py complexity --only swin_t.

complexity counts parameters and multiply-adds of every row of tables 3 and 4, without weights or
data.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from convnext_dense.engine.cli import run_tool
from convnext_dense.paper import complexity

CONFIGS = Path(__file__).parents[1] / "configs"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    counting = commands.add_parser("complexity", help="parameters and multiply-adds")
    counting.add_argument("--only", metavar="NAME", help="rows whose name contains this")
    counting.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # the libraries' chatter is not the answer
        found = [complexity.measure(row, CONFIGS) for row in complexity.rows_named(args.only)]
    print(json.dumps(found, indent=2) if args.json else complexity.format_table(found))


if __name__ == "__main__":
    run_tool(main)
