"""Rewrites annotations in another format: SRC DST --to yolo.

SRC is a file or folder in COCO's, YOLO's, Pascal VOC's, labelme's, CVAT's or Label Studio's format,
which is recognised, or a folder of label images that tell objects apart (Cityscapes, Mapillary);
all of its splits are converted. DST is a new folder with the images in it, as
hard links where they lie on the same disk. A table shows the counts, and what DST cannot hold is
said.
"""

import argparse

from convnext_dense.data.formats.names import DETECTION_FORMATS, SPLITS, WRITTEN_FORMATS


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("--to", required=True, choices=WRITTEN_FORMATS, help="format of DST")
    parser.add_argument(
        "--from",
        dest="data_format",
        choices=DETECTION_FORMATS,
        help="format of SRC (default: recognised)",
    )
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the images, where they are elsewhere than SRC"
    )
    parser.add_argument(
        "--components",
        action="store_true",
        help="SRC holds label images of classes: each connected area of a class is an object",
    )
    parser.add_argument(
        "--split-name",
        choices=SPLITS,
        default="train",
        help="name of the split where SRC has none of its own (default: train)",
    )
    parser.add_argument(
        "--copy", action="store_true", help="copy the images, also where a hard link would do"
    )
