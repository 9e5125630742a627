"""Measures models beside others', or the input: python tools/benchmark.py infer tiny.

infer is a forward pass, train is forward and backward. MODEL is a variant such as tiny (the
backbone with its four maps), cls:tiny or a classification config (the classifier). Without
--against it is compared with timm's model of the same name, with the same weights; outputs that
differ are an error.
`detect CONFIG...` and `segment CONFIG...` measure whole models with random weights from images in
bytes to results; without --against the further configs are the first one's peers.
`data CONFIG` measures decoding, augmentation and the whole loader of a config's training data.
`evaluation` measures the COCO figures of generated results beside pycocotools, which must be equal.
"""

import argparse
import json
import sys
from dataclasses import asdict

import torch

from convnext_dense.benchmark import coco_evaluation, data_loading, throughput
from convnext_dense.benchmark.modes import AMP, AUTO, MODES, Options
from convnext_dense.cli.shared.arguments import add_data_arguments
from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.errors import UserError


def parse_flags() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=(*MODES, "data", "evaluation"))
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="atto ..., cls:atto ..., or CONFIG"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="LIBRARY:NAME",
        help="peers of timm, torchvision, mmpretrain or transformers, or configs; ratios are to "
        "the first",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cuda" if torch.cuda.is_available() else "cpu",
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
    parser.add_argument(
        "--rounds", type=int, metavar="R", help=f"default: 10; evaluation: {coco_evaluation.ROUNDS}"
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=coco_evaluation.PICTURES,
        metavar="N",
        help="of evaluation, default: %(default)s",
    )
    parser.add_argument("--threads", type=int, metavar="T", help="CPU threads")
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", default=data_loading.WORKERS)
    add_data_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    args = parser.parse_args()
    if bool(args.models) != (args.mode != "evaluation"):
        parser.error(
            "evaluation measures no MODEL." if args.models else f"{args.mode} needs a MODEL."
        )
    if args.rounds is None:
        args.rounds = coco_evaluation.ROUNDS if args.mode == "evaluation" else 10
    return args


def main() -> None:
    args = parse_flags()
    if args.mode == "evaluation":
        measured = coco_evaluation.measure(args.pictures, args.rounds)
        rows = throughput.to_json(measured)
        print(json.dumps(rows, indent=2) if args.json else coco_evaluation.format_table(measured))
        return
    if args.mode == "data":
        if args.batch_size == AUTO:
            raise UserError("data measures no model: give --batch-size a number.")
        measured = data_loading.measure(
            args.models[0],
            args.data_root,
            args.workers,
            args.batch_size,
            args.rounds,
            args.cfg_options,
        )
        rows = [asdict(row) for row in measured]
        print(json.dumps(rows, indent=2) if args.json else data_loading.format_table(measured))
        return
    options = Options(
        mode=args.mode,
        device=args.device,
        amp=args.amp,
        channels_last=args.channels_last,
        compile=args.compile,
        batch_size=1 if args.batch_size is None else args.batch_size,
        image_size=args.image_size and throughput.parse_image_size(args.image_size),
        rounds=args.rounds,
        threads=args.threads,
    )
    measured = throughput.compare(args.models, args.against, options)
    # With --json what has no field there, such as warm-up and compile time, goes beside it.
    print(throughput.format_table(measured, options), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(throughput.to_json(measured), indent=2))
