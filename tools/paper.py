#!/usr/bin/env python
"""The paper's tables beside ours: python tools/paper.py complexity --only swin_t."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("paper")
