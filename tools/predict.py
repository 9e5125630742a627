#!/usr/bin/env python
"""Predicts an image or a folder of images: overlays, one JSON file, label images."""

from convnext_dense.cli.main import open_tool

if __name__ == "__main__":
    open_tool("predict")
