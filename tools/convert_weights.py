#!/usr/bin/env python
"""Rewrites a ConvNeXt checkpoint in another library's parameter names."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("convert_weights")
