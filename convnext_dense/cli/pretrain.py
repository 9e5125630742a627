"""Trains a classifier; the last line is the command that hands its weights to a detector."""

import argparse

from convnext_dense.cli.shared.invocation import command_line
from convnext_dense.cli.shared.run_end import say_commands
from convnext_dense.cli.train import read_flags, train
from convnext_dense.config import launcher

# A detector of each size that takes the weights.
DETECTORS = {
    "atto": "mask_rcnn_convnext_a_shapes",
    "tiny": "mask_rcnn_convnext_t_3x",
    "small": "cascade_convnext_s_3x",
    "base": "cascade_convnext_b_3x",
    "large": "cascade_convnext_l_in22k_3x",
    "xlarge": "cascade_convnext_xl_in22k_3x",
}


def run(args: argparse.Namespace) -> None:
    """The command."""
    flags = read_flags(args)
    cfg = train(flags)
    backbone = cfg.model.backbone
    trained = not (flags.replay or flags.dry_run)
    if not trained or launcher.rank(flags.launcher) or backbone.type != "ConvNeXtClassifier":
        return
    data = ["--data-root", flags.data_root] if flags.data_root else []
    detector = DETECTORS.get(str(backbone.arch), "CONFIG")
    say_commands([command_line("train", detector, "--backbone-weights", cfg.work_dir, *data)])
