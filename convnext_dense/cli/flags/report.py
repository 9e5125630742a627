"""One page about runs: WORK_DIR... --out report.html.

Work folders of trainings, pretrainings and tests; several compare. Tests in a training's folder or
right below it belong to it. The page is one file that needs no network.
"""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="folders of runs")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="default: %(default)s")
