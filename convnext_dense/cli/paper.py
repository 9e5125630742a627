"""The paper's tables beside ours: python tools/paper.py complexity --only swin_t.

complexity counts parameters and multiply-adds of every row of tables 3 and 4, without weights or
data; roadmap those of every step from ResNet to ConvNeXt (tables 10 and 11), and draws them;
tables puts the figures of all tables beside ours; reproduce trains and tests one row of them.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.config.shipped import CONFIGS, ROOT
from convnext_dense.errors import UserError
from convnext_dense.paper.costs import complexity
from convnext_dense.paper.reproduce import chain, commands
from convnext_dense.paper.roadmap import costs
from convnext_dense.paper.tables import compare


def parse_flags() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subcommands = parser.add_subparsers(dest="command", required=True)
    counting = subcommands.add_parser("complexity", help="parameters and multiply-adds")
    counting.add_argument("--only", metavar="NAME", help="rows whose name contains this")
    counting.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    walking = subcommands.add_parser("roadmap", help="the steps from ResNet to ConvNeXt")
    walking.add_argument("--regime", metavar="NAME", help="resnet50 or resnet200; both if left out")
    walking.add_argument(
        "--results", metavar="FILE", help="JSON: config name -> our top-1, percent"
    )
    walking.add_argument("--draw", metavar="DIR", help="draw the steps and the chart into it")
    walking.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    comparing = subcommands.add_parser("tables", help="all tables, the paper's figures and ours")
    comparing.add_argument("--table", type=int, metavar="N", help="one table; all if left out")
    comparing.add_argument("--runs", metavar="DIR", help="folder that holds work folders")
    comparing.add_argument(
        "--benchmark",
        nargs="+",
        default=(),
        metavar="SIZE:FILE",
        help="output of tools/benchmark.py infer --json at an image size",
    )
    comparing.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    repeating = subcommands.add_parser("reproduce", help="train and test what a row says")
    repeating.add_argument(
        "row", metavar="TABLE:ROW", help="such as 3:cascade_convnext_t_3x, or 3:7"
    )
    repeating.add_argument("--print", action="store_true", help="print the commands alone")
    repeating.add_argument("--data-root", metavar="DIR", help="as of tools/train.py")
    repeating.add_argument("--work-dir", metavar="DIR", default="work_dirs", help="of all steps")
    repeating.add_argument(
        "--gpus",
        type=int,
        default=8,
        metavar="N",
        help="default: 8; 0: one process, on what there is",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_flags()
    {
        "complexity": count,
        "roadmap": walk,
        "tables": put_side_by_side,
        "reproduce": repeat,
    }[args.command](args)


def count(args: argparse.Namespace) -> None:
    with contextlib.redirect_stdout(sys.stderr):  # the libraries' chatter is not the answer
        counts = [
            complexity.count_dense_row(row, CONFIGS) for row in complexity.rows_named(args.only)
        ]
    print(json.dumps(counts, indent=2) if args.json else complexity.format_table(counts))


def put_side_by_side(args: argparse.Namespace) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        found = compare.compare_tables(args.table, CONFIGS, args.runs, args.benchmark)
    print(json.dumps(found, indent=2) if args.json else compare.format_tables(found))


def repeat(args: argparse.Namespace) -> None:
    row = chain.find_row(args.row)
    if args.gpus < 0:
        raise UserError(f"--gpus must be at least 0, got {args.gpus}.")
    root = Path(os.path.relpath(ROOT))
    settings = chain.ReproduceSettings(root, Path(args.work_dir), args.data_root, args.gpus)
    steps = chain.steps_of_row(row, settings)
    if args.print:
        print(commands.format_steps(steps))
        return
    commands.check_requirements(steps, settings)
    commands.run_steps(steps, lambda line: print(line, flush=True))


def walk(args: argparse.Namespace) -> None:
    results = costs.read_results(args.results)
    counts = {name: costs.count_steps(name, results) for name in costs.regimes_named(args.regime)}
    if args.draw:
        from convnext_dense.paper.roadmap.drawings import draw_roadmap  # imports matplotlib

        for path in draw_roadmap(args.draw, counts):
            print(path, file=sys.stderr)
    if args.json:
        print(json.dumps([row for rows in counts.values() for row in rows], indent=2))
    else:
        print("\n\n".join(costs.format_table(rows) for rows in counts.values()))
