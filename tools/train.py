#!/usr/bin/env python
"""Trains a detector or segmentor: python tools/train.py CONFIG."""

import argparse

from convnext_dense.engine import cli, custom_data, training


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config_arguments(parser)
    parser.add_argument("--work-dir", help="folder of the run (default: work_dirs/<config name>)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=training.AUTO,
        metavar="CKPT",
        help="continue the run in the work folder, or from this checkpoint",
    )
    parser.add_argument("--load-from", metavar="CKPT", help="start from these weights")
    parser.add_argument(
        "--amp",
        choices=("off", "fp16", "bf16"),
        help="mixed precision instead of the config's (bf16 where the GPU has it)",
    )
    parser.add_argument("--seed", type=int, help="random seed (default: drawn and logged)")
    parser.add_argument(
        "--deterministic", action="store_true", help="deterministic GPU kernels, slower"
    )
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the batch"
    )
    parser.add_argument(
        "--max-iters", type=int, metavar="N", help="stop after N iterations, then evaluate"
    )
    custom_data.add_arguments(parser)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over your own data (default: by its size)"
    )
    cli.add_launcher_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cli.set_local_rank(args.local_rank)
    training.train(args, custom_data.from_args(args, ("train", "val", "test")))


if __name__ == "__main__":
    cli.run_tool(main)
