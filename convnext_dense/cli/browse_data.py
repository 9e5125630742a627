"""Draws augmented samples and the statistics of a dataset: python tools/browse_data.py CONFIG."""

import argparse
from pathlib import Path

from convnext_dense.browse.samples_page import browse
from convnext_dense.cli.shared import arguments
from convnext_dense.cli.shared.run_command import Parser
from convnext_dense.data import own_data
from convnext_dense.data.fit import load_fitted_config


def parse_flags() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    arguments.add_config_arguments(parser)
    parser.add_argument("--out", required=True, help="folder for images and statistics")
    parser.add_argument("--number", type=int, default=16, metavar="N", help="samples to draw")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--seed", type=int, default=0, help="settles the samples")
    own_data.add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_flags()
    cfg = load_fitted_config(
        args.config,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        splits=(args.split,),
        own_data=own_data.from_args(args, (args.split,)),
    )
    out = Path(args.out)
    print(browse(cfg, args.split, out, args.number, args.seed))
    print(f"\n{out / 'sheet.jpg'}  {out / 'statistics.png'}  {out / 'statistics.json'}")
