#!/usr/bin/env python
"""Prints a config with its bases and options, or writes it as plain YAML or JSON."""

from convnext_dense.cli.print_config import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
