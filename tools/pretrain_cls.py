#!/usr/bin/env python
"""Trains a classifier: python tools/pretrain_cls.py CONFIG."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("pretrain_cls")
