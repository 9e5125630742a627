#!/usr/bin/env python
"""Trains a classifier: python tools/pretrain_cls.py CONFIG."""

from convnext_dense.cli.pretrain import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
