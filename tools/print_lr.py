#!/usr/bin/env python
"""Prints the optimizer's parameter groups of a config and draws their rates over the training."""

from convnext_dense.cli.print_lr import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
