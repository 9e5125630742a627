#!/usr/bin/env python
"""Tests a checkpoint: python tools/test.py CONFIG CHECKPOINT."""

from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.cli.test import main

if __name__ == "__main__":
    run_command(main)
