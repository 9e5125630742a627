"""Draws augmented samples and the statistics of a dataset."""

import argparse
from dataclasses import replace
from pathlib import Path

from convnext_dense.browse.samples_page import browse
from convnext_dense.data.bands.reading import check_range
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.finetune.augment import use_augmentation
from convnext_dense.tasks import task_of


def run(args: argparse.Namespace) -> None:
    """The command."""
    out, own = Path(args.out), own_data_flags.from_args(args, (args.split,))
    cfg = load_fitted_config(
        args.config,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        splits=(args.split,),
        own_data=own and replace(own, folder=out / "data"),
        value_range=args.value_range and check_range(args.value_range),
    )
    if args.augment is not None:
        use_augmentation(cfg, args.augment)
    print(browse(cfg, args.split, out, args.number, args.seed))
    for remark in task_of(cfg).remarks(cfg, args.split, ()):
        print(f"note: {remark}")
    print(f"\n{out / 'sheet.jpg'}  {out / 'statistics.png'}  {out / 'statistics.json'}")
