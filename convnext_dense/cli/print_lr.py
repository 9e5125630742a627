"""Prints a config's parameter groups and draws their rates over the training."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from convnext_dense.config.load import load_config
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.text_files import opening_annotation_files
from convnext_dense.errors import UserError
from convnext_dense.finetune.settle import TRAINED_PARTS
from convnext_dense.optim import format_table, lr_report
from convnext_dense.optim.schedule_curve import training_annotations
from convnext_dense.tasks import task_of


def run(args: argparse.Namespace) -> None:
    """The command."""
    out = Path(args.out or Path("work_dirs", "print_lr", f"{Path(args.config).stem}.png"))
    if out.is_dir():
        raise UserError(f"--out names the folder {out}: give the name of a PNG file.")
    # The libraries' chatter is not the answer.
    with contextlib.redirect_stdout(sys.stderr), opening_annotation_files():
        flags = dict(data_root=args.data_root, cfg_options=args.cfg_options, amp="off")
        cfg = load_config(args.config, **flags)
        if training_annotations(cfg).is_file():
            cfg = load_fitted_config(args.config, splits=("train",), **flags)
        task_of(cfg).assume_classes(cfg)
        for name, change in TRAINED_PARTS.items():
            if (value := getattr(args, name)) is not None:
                change(cfg, value)
        report = lr_report(cfg, out)
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(format_table(report["groups"]))
    if (frozen := report["frozen"])["parameters"]:
        print(
            f"frozen, in no group: {frozen['parameters']:,} parameters, "
            f"{frozen['num_elements']:,} values"
        )
    length = f"{report['iterations']:,} iterations"
    if report["epochs"] is not None:
        length += f" in {report['epochs']} epochs ({report['epoch_source']})"
    print(f"\nbase lr {report['base_lr']:g}, {length}\ncurve: {report['curve']}")
