"""Exports a trained model, and compares it with the original.

    convnext-dense export work_dirs/birds --to onnx
    convnext-dense export CHECKPOINT --config CONFIG --to openvino --int8 CALIBRATION_DIR

The folder that it writes predicts without torch: convnext-dense predict DIR SOURCE, cd.load(DIR).
"""

import argparse

from convnext_dense.cli.shared.arguments import add_ema_argument

TARGETS = ("onnx", "openvino", "torch-export", "tensorrt")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "checkpoint",
        help="work folder, checkpoint, official name, config whose weights the release has, or "
        "hf:owner/name",
    )
    parser.add_argument("--to", choices=TARGETS, default="onnx", help="(default: onnx)")
    parser.add_argument("--config", help="config of the checkpoint, where it stores none")
    add_ema_argument(parser)
    parser.add_argument("--out", metavar="DIR", help="folder (default: exports/<name>-<target>)")
    parser.add_argument("--half", action="store_true", help="16 bits where the runtime has them")
    parser.add_argument(
        "--int8",
        metavar="DIR",
        help="8 bits, calibrated on the images of this folder (onnx, openvino)",
    )
    parser.add_argument(
        "--sizes",
        choices=("dynamic", "fixed"),
        default="dynamic",
        help="images of any size and number, or one image of --input-size (default: dynamic)",
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="with --sizes fixed: the network's input in pixels",
    )
    parser.add_argument(
        "--part", choices=("backbone",), help="export the backbone alone: pixels to feature maps"
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="images to compare both models on (default: the config's test data, else drawn ones)",
    )
    parser.add_argument(
        "--number", type=int, default=12, metavar="N", help="how many of them (default: 12)"
    )
    parser.add_argument("--data-root", help="folder in front of the config's data folders")
