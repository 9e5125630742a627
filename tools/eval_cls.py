#!/usr/bin/env python
"""Evaluates a classifier beyond the validation set (docs/robustness.md)."""

from convnext_dense.cli.evaluate_classifier import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
