"""One page about runs: python tools/report.py WORK_DIR... --out report.html.

Work folders of tools/train.py, tools/pretrain_cls.py and tools/test.py; several compare. Tests in a
training's folder or right below it belong to it. The page is one file that needs no network.
"""

import argparse
from pathlib import Path

from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.config.shipped import CONFIGS
from convnext_dense.report.page import write_report


def parse_flags() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="folders of runs")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="default: %(default)s")
    return parser.parse_args()


def main() -> None:
    args = parse_flags()
    runs = write_report(args.work_dirs, Path(args.out), CONFIGS)
    for run in runs:
        for note in run.notes:
            print(f"{run.name}: {note}")
    print(f"{len(runs)} runs: {args.out}")
