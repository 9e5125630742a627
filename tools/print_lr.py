#!/usr/bin/env python
"""Prints the optimizer's parameter groups of a config and draws their rates over the training."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("print_lr")
