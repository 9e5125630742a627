"""Measures models beside others', or the input: infer tiny.

infer is a forward pass, train is forward and backward. MODEL is a variant such as tiny (the
backbone with its four maps), cls:tiny or a classification config (the classifier). Without
--against it is compared with timm's model of the same name, with the same weights; outputs that
differ are an error.
`detect CONFIG...` and `segment CONFIG...` measure whole models with random weights from images in
bytes to results; without --against the further configs are the first one's peers.
With --against export:DIR ... MODEL is a checkpoint, and is compared on a drawn image with what it
was exported to; --compile adds torch's compiled backbone.
`data CONFIG` measures decoding, augmentation and the whole loader of a config's training data.
`evaluation` measures the COCO figures of generated results beside pycocotools, which must be equal.
"""

import argparse

from convnext_dense.cli.shared import arguments

MODES = ("infer", "train", "detect", "segment")
AMP = ("off", "bf16", "fp16")
AUTO = "auto"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("mode", choices=(*MODES, "data", "evaluation"))
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="atto ..., cls:atto ..., or CONFIG"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="LIBRARY:NAME",
        help="peers of timm, torchvision, mmpretrain or transformers, or configs; ratios are to "
        "the first; or export:DIR ...; ratios are to MODEL in torch",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="default: the GPU where there is one",
    )
    parser.add_argument("--amp", choices=AMP, default="off", help="autocast's type")
    parser.add_argument(
        "--channels-last", action="store_true", help="channels-last images and peers"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile every model")
    parser.add_argument(
        "--batch-size",
        type=lambda text: text if text == AUTO else int(text),
        metavar="B|auto",
        help="default: 1; data: CONFIG's; auto: the largest power of two that fits into the GPU",
    )
    parser.add_argument(
        "--image-size",
        metavar="S|HxW",
        help="default: 512; of a classifier 224; CONFIG's test size",
    )
    parser.add_argument("--rounds", type=int, metavar="R", help="default: 10; evaluation: 3")
    parser.add_argument(
        "--pictures",
        type=int,
        default=5000,
        metavar="N",
        help="of evaluation, default: %(default)s",
    )
    parser.add_argument("--threads", type=int, metavar="T", help="CPU threads")
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", default=(0, 1, 2, 4))
    arguments.add_data_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
