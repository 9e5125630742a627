"""Puts a trained model on the Hugging Face Hub: WORK_DIR owner/name.

Uploaded are model.safetensors, the config as plain YAML and a card made from the run's figures,
environment and data. convnext_dense.load("hf:owner/name") reads them; nothing is unpickled.
"""

import argparse

from convnext_dense.cli.shared import arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("work_dir", metavar="WORK_DIR", help="work folder of a training")
    arguments.add_optional_positional(
        parser, "repo", metavar="OWNER/NAME", help="the repository; made if there is none"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="one of the folder's (default: the newest whole one)"
    )
    parser.add_argument("--ema", action="store_true", help="take the averaged weights")
    parser.add_argument(
        "--license", metavar="ID", help="of the weights, such as apache-2.0 (default: not said)"
    )
    parser.add_argument(
        "--private", action="store_true", help="make a new repository that others do not see"
    )
    parser.add_argument("--to-folder", metavar="DIR", help="write the files there, upload nothing")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the card and the files' sizes, upload nothing"
    )
