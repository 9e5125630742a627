#!/usr/bin/env python
"""Tests a checkpoint: python tools/test.py CONFIG CHECKPOINT."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("test")
