#!/usr/bin/env python
"""The paper's tables beside ours: python tools/paper.py complexity --only swin_t."""

from convnext_dense.cli.paper import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
