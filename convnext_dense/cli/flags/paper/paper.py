"""The paper's tables beside ours: complexity --only swin_t.

complexity counts parameters and multiply-adds of every row of tables 3 and 4, without weights or
data; roadmap those of every step from ResNet to ConvNeXt (tables 10 and 11), and draws them;
tables puts the figures of all tables beside ours; reproduce trains and tests one row of them.
"""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    subcommands = parser.add_subparsers(dest="subject", required=True)
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
    add_table_flags(comparing)
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


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``paper tables``, which is the command ``tables`` too."""
    parser.add_argument("--table", type=int, metavar="N", help="one table; all if left out")
    parser.add_argument("--runs", metavar="DIR", help="folder that holds work folders")
    parser.add_argument(
        "--benchmark",
        nargs="+",
        default=(),
        metavar="SIZE:FILE",
        help="output of tools/benchmark.py infer --json at an image size",
    )
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
