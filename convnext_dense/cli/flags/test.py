"""Tests a checkpoint, or an exported model, on the data of its config."""

import argparse

from convnext_dense.cli.shared import arguments, data_arguments


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_config_arguments(parser)
    arguments.add_optional_positional(
        parser,
        "checkpoint",
        help="file, work folder, address, official name, or folder of an exported model (default: "
        "the work folder or exported model that CONFIG names, or the official file of CONFIG)",
    )
    parser.add_argument(
        "--work-dir", help="folder of metrics.json and logs (default: work_dirs/<config name>_test)"
    )
    parser.add_argument("--show-dir", help="write images of the ground truth beside predictions")
    parser.add_argument(
        "--out", metavar="FILE.json", help="write each image's results: COCO format or a row each"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="test the first N images only")
    parser.add_argument(
        "--tta", action="store_true", help="test in all views of the config's tta_views, and merge"
    )
    arguments.add_ema_argument(parser)
    arguments.add_tracker_argument(parser)
    arguments.add_tile_arguments(parser)
    data_arguments.add_own_data_arguments(parser, training=False)
    arguments.add_launcher_arguments(parser)
