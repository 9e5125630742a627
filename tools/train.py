#!/usr/bin/env python
"""Trains a detector or segmentor: python tools/train.py CONFIG."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("train")
