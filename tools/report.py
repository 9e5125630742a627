#!/usr/bin/env python
"""One page about runs: python tools/report.py WORK_DIR... --out report.html."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("report")
