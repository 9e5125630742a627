#!/usr/bin/env python
"""Draws augmented samples and the statistics of a dataset: python tools/browse_data.py CONFIG."""

from convnext_dense.cli.browse_data import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
