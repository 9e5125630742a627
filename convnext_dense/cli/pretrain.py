"""Trains a backbone, with labels or without; the last lines are commands that hand it on."""

import argparse

from mmengine.config import Config

from convnext_dense.cli.shared import arguments, unlabelled_flags
from convnext_dense.cli.shared.invocation import command_line
from convnext_dense.cli.shared.run_end import say_commands
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.train import read_flags, train
from convnext_dense.config import launcher

BACKBONES = ("ConvNeXtClassifier", "ConvNeXtTrunk")
# A detector of each size that takes the weights, and a segmentor.
DETECTORS = {
    "atto": "mask_rcnn_convnext_a_shapes",
    "tiny": "mask_rcnn_convnext_t_3x",
    "small": "cascade_convnext_s_3x",
    "base": "cascade_convnext_b_3x",
    "large": "cascade_convnext_l_in22k_3x",
    "xlarge": "cascade_convnext_xl_in22k_3x",
}
SEGMENTORS = {
    "atto": "upernet_convnext_a_shapes",
    "tiny": "upernet_convnext_t_512_160k",
    "small": "upernet_convnext_s_512_160k",
    "base": "upernet_convnext_b_512_160k",
    "large": "upernet_convnext_l_in22k_640_160k",
    "xlarge": "upernet_convnext_xl_in22k_640_160k",
}
# What a recipe of V1 blocks needs to take V2's.
V2_BLOCKS = ("model.backbone.use_grn=True", "model.backbone.layer_scale_init_value=0")


def run(args: argparse.Namespace) -> None:
    """The command."""
    flags = read_pretraining_flags(args)
    cfg = train(flags)
    trained = not (flags.replay or flags.dry_run)
    if trained and not launcher.rank(flags.launcher) and cfg.model.backbone.type in BACKBONES:
        say_commands(handing_over(cfg, flags.data_root))


def read_pretraining_flags(args: argparse.Namespace) -> TrainFlags:
    """The flags of a parsed command line."""
    unlabelled = unlabelled_flags.from_args(args)
    own = unlabelled.own_data()
    if own is None:
        args.images = args.epochs = None  # they are no flags of labelled data
        return read_flags(args, unlabelled)
    arguments.set_local_rank(args.local_rank)
    args.epochs = None
    return arguments.to_flags(TrainFlags, args, own_data=own, unlabelled=unlabelled)


def handing_over(cfg: Config, data_root: str | None) -> list[str]:
    """Commands that train from the backbone; a classifier's is handed to a detector alone."""
    backbone = cfg.model.backbone
    recipes = [DETECTORS.get(str(backbone.arch), "CONFIG")]
    if backbone.type != "ConvNeXtClassifier":
        recipes.insert(0, SEGMENTORS.get(str(backbone.arch), "CONFIG"))
    data = ["--data-root", data_root] if data_root else []
    blocks = ["--cfg-options", *V2_BLOCKS] if backbone.get("use_grn") else []
    start = ["--backbone-weights", cfg.work_dir]
    return [command_line("train", recipe, *start, *data, *blocks) for recipe in recipes]
