"""Evaluates a classifier beyond the validation set (docs/robustness.md).

python tools/eval_cls.py CHECKPOINT --data imagenet-a --suite a
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.classification.load_trained import open_classifier
from convnext_dense.classification.robustness import evaluation
from convnext_dense.classification.robustness.suites import SUITES
from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.config.load import load_config
from convnext_dense.predictor import choose_device
from convnext_dense.runs.work_folder import resolve_checkpoint


def parse_flags() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", help="file, work folder of tools/pretrain_cls.py, address or official name"
    )
    parser.add_argument("--data", required=True, help="folder of the suite, as it unpacks")
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument("--config", help="config instead of the one in the checkpoint")
    parser.add_argument("--ema", action="store_true", help="the averaged weights")
    parser.add_argument("--size", type=int, help="side of the tested images in pixels")
    parser.add_argument(
        "--corrupt", action="store_true", help="c, cbar: corrupt the images of a plain folder"
    )
    parser.add_argument("--corruptions", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--severities", nargs="+", type=int, default=(1, 2, 3, 4, 5), metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of --corrupt")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images of a folder")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--device", help="default: the GPU where there is one")
    parser.add_argument("--out", metavar="FILE.json", help="write the figures")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse_flags()
    if args.out:
        make_folder(Path(args.out).parent)
    options = evaluation.Options(
        corrupt=args.corrupt,
        corruptions=tuple(args.corruptions),
        severities=tuple(args.severities),
        seed=args.seed,
        limit=args.limit,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the figures alone
        config = load_config(args.config) if args.config else None
        checkpoint = resolve_checkpoint(args.checkpoint)
        model = open_classifier(checkpoint, config, args.ema, args.size)
        model.to(choose_device(args.device))
        figures = evaluation.evaluate(model, args.data, args.suite, options, print)
    result = dict(suite=args.suite, data=args.data, checkpoint=checkpoint, ema=args.ema, **figures)
    if args.out:
        write_atomically(Path(args.out), json.dumps(result, indent=2))
    print(
        json.dumps(result, indent=2) if args.json else "\n".join(evaluation.figure_lines(figures))
    )
