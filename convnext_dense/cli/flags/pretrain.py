"""Trains a backbone: a classifier on labels, or without labels by FCMAE or distillation.

Flags, logs and work folder are those of the command that trains detectors. The last line is the
command that hands the weights to a detector.
"""

import argparse

from convnext_dense.cli.shared import arguments, data_arguments, finetune_arguments

SUPERVISED = "supervised"
# Method of pretraining without labels -> the shipped config that is meant where none is named.
METHODS = {"fcmae": "fcmae_convnext_v2_t", "distill": "distill_convnext_t"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    arguments.add_optional_config(parser, "with --method fcmae or distill it may be left out")
    arguments.add_data_arguments(parser)
    arguments.add_training_arguments(parser)
    finetune_arguments.add_finetune_arguments(parser, dense=False)
    data_arguments.add_class_data_arguments(parser)
    data_arguments.add_split_arguments(parser)
    _add_unlabelled_arguments(parser)
    arguments.add_launcher_arguments(parser)


def _add_unlabelled_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("your own images, without labels")
    group.add_argument(
        "--method",
        choices=(SUPERVISED, *METHODS),
        help="fcmae: predict masked patches; distill: learn the features of --teacher; supervised: "
        "labels (default: the config's)",
    )
    group.add_argument(
        "--images", metavar="DIR", help="folder of the images, at any depth (fcmae, distill)"
    )
    group.add_argument(
        "--teacher",
        metavar="FILE",
        help="weights of a trained ConvNeXt: a file of any library, or a work folder (distill)",
    )
    group.add_argument(
        "--arch", metavar="NAME", help="size of the backbone, such as atto (fcmae, distill)"
    )
    group.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side of the crops (fcmae, distill)"
    )
    group.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the images, the warmup in proportion (fcmae, distill)",
    )
