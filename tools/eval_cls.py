#!/usr/bin/env python
"""Evaluates a classifier beyond the validation set (docs/robustness.md)."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("eval_cls")
