#!/usr/bin/env python
"""Prints a config with its bases and options, or writes it as plain YAML or JSON."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("print_config")
