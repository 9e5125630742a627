#!/usr/bin/env python
"""Measures the backbone beside timm's, or the input: python tools/benchmark.py infer tiny.

MODEL is a variant such as tiny. Without --against it is compared with timm's model of the same
name, with the same weights; features that differ are an error. train is forward and backward.
`data CONFIG` measures decoding, augmentation and the whole loader of a config's training data.
"""

import argparse
import json
from dataclasses import asdict

import torch

from convnext_dense.engine.cli import add_data_arguments, run_tool
from convnext_dense.paper import reading, throughput
from convnext_dense.paper.steps import AMP, MODES, Options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=(*MODES, "data"))
    parser.add_argument("models", nargs="+", metavar="MODEL", help="variant atto ...; or CONFIG")
    parser.add_argument(
        "--against", nargs="+", metavar="timm:NAME", help="peers; ratios are to the first"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="default: the GPU where there is one",
    )
    parser.add_argument("--amp", choices=AMP, default="off", help="autocast's type")
    parser.add_argument(
        "--channels-last", action="store_true", help="channels-last pictures and peers"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile every model")
    parser.add_argument("--batch-size", type=int, metavar="B", help="default: 1; data: CONFIG's")
    parser.add_argument("--image-size", default="512", metavar="S|HxW", help="default: 512")
    parser.add_argument("--rounds", type=int, default=10, metavar="R")
    parser.add_argument("--threads", type=int, metavar="T", help="CPU threads")
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", default=reading.WORKERS)
    add_data_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.mode == "data":
        found = reading.measure(
            args.models[0],
            args.data_root,
            args.workers,
            args.batch_size,
            args.rounds,
            args.cfg_options,
        )
        rows = [asdict(one) for one in found]
        print(json.dumps(rows, indent=2) if args.json else reading.format_table(found))
        return
    options = Options(
        mode=args.mode,
        device=args.device,
        amp=args.amp,
        channels_last=args.channels_last,
        compile=args.compile,
        batch_size=1 if args.batch_size is None else args.batch_size,
        image_size=throughput.parse_image_size(args.image_size),
        rounds=args.rounds,
        threads=args.threads,
    )
    found = throughput.compare(args.models, args.against, options)
    if args.json:
        print(json.dumps(throughput.to_json(found, options), indent=2))
    else:
        print(throughput.format_table(found, options))


if __name__ == "__main__":
    run_tool(main)
