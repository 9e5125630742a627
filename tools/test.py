#!/usr/bin/env python
"""Tests a checkpoint: python tools/test.py CONFIG CHECKPOINT."""

import argparse

from convnext_dense.cli import arguments, test
from convnext_dense.data import own_data


def parse_args() -> argparse.Namespace:
    parser = arguments.Parser(description=__doc__)
    arguments.add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--work-dir", help="folder of metrics.json and logs (default: work_dirs/<config name>_test)"
    )
    parser.add_argument("--show-dir", help="write pictures of the truth beside the predictions")
    parser.add_argument(
        "--out", metavar="FILE.json", help="write each picture's results: COCO format or a row each"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="test the first N pictures only")
    parser.add_argument(
        "--tta", action="store_true", help="test in all views of the config's tta_views, and merge"
    )
    own_data.add_arguments(parser, training=False)
    arguments.add_launcher_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    arguments.set_local_rank(args.local_rank)
    test.test(args, own_data.from_args(args, ("test",)))


if __name__ == "__main__":
    arguments.run_tool(main)
