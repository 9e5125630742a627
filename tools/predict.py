#!/usr/bin/env python
"""Predicts an image or a folder of images: overlays, one JSON file, label images."""

from convnext_dense.cli.predict import main
from convnext_dense.cli.shared.run_command import run_command

if __name__ == "__main__":
    run_command(main)
