#!/usr/bin/env python
"""Trains a detector or segmentor: python tools/train.py CONFIG."""

from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.cli.train import main

if __name__ == "__main__":
    run_command(main)
