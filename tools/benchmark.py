#!/usr/bin/env python
"""Measures models beside others', or the input: python tools/benchmark.py infer tiny."""

from convnext_dense.cli.benchmark import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
