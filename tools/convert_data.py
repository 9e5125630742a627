#!/usr/bin/env python
"""Rewrites annotations in another format."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("convert_data")
