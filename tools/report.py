#!/usr/bin/env python
"""One page about runs: python tools/report.py WORK_DIR... --out report.html."""

from convnext_dense.cli.report import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
