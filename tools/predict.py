#!/usr/bin/env python
"""Predicts a picture or a folder of pictures: overlays, one JSON file, label pictures."""

from convnext_dense.cli.predict import main
from convnext_dense.cli.run_command import run_command

if __name__ == "__main__":
    run_command(main)
