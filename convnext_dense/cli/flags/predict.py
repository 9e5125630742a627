"""Predicts images and videos: drawings, a file of results, label images.

    convnext-dense predict MODEL SOURCE
    convnext-dense predict CONFIG CHECKPOINT SOURCE

MODEL is a work folder, a checkpoint, the name of a config whose weights the release has, or
hf:owner/name. SOURCE is an image, a folder, a pattern, an https address, a video or the number of
a camera. Without a model the official Cascade Mask R-CNN T is taken: the 80 classes of COCO.
"""

import argparse

from convnext_dense.cli.shared import arguments, data_arguments

BEST = "best"
FORMATS = ("json", "coco", "labelme", "yolo", "csv")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    words = parser.add_argument("words", nargs="+", metavar="MODEL SOURCE", help="see above")
    words.completer = arguments.complete_config
    parser.add_argument("--out", help="folder of the results (default: predictions/<source>)")
    parser.add_argument("--format", choices=FORMATS, default="json", help="of the results")
    parser.add_argument(
        "--threshold",
        "--score-threshold",
        type=score,
        default=0.3,
        metavar="S",
        help="leave out detections below this score; best: the best F1 of each class (default: "
        "0.3)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images of one size at a time"
    )
    arguments.add_tile_arguments(parser)
    parser.add_argument(
        "--tta",
        action="store_true",
        help="predict in all views of the config's tta_views, and merge",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="segmentors: the probability of every class, as NAME_probabilities.npz",
    )
    arguments.add_ema_argument(parser)
    data_arguments.add_value_range(parser)
    parser.add_argument("--device", help="cpu, cuda ... (default: the GPU where there is one)")


def score(text: str) -> float | str:
    """A number, or ``best``; argparse calls a wrong one an invalid score."""
    return text if text == BEST else float(text)
