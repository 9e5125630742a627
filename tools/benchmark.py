#!/usr/bin/env python
"""Measures models beside others', or the input: python tools/benchmark.py infer tiny."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("benchmark")
