#!/usr/bin/env python
"""Rewrites a ConvNeXt checkpoint in another library's parameter names."""

from convnext_dense.cli.convert_weights import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
