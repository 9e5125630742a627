#!/usr/bin/env python
"""Draws augmented samples and the statistics of a dataset: python tools/browse_data.py CONFIG."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("browse_data")
