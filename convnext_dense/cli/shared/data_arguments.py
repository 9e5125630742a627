"""Flags of one's own data: where it lies, in which format, and what is left for validation."""

import argparse

from convnext_dense.data.formats.names import DETECTION_FORMATS

SEGMENTATION_FORMATS = (
    "folders", "cityscapes", "voc", "mapillary", "loveda", "coco-stuff", "ade20k", "coco",
)  # fmt: skip
FORMATS = tuple(dict.fromkeys((*DETECTION_FORMATS, *SEGMENTATION_FORMATS)))


def add_own_data_arguments(parser: argparse.ArgumentParser, training: bool = True) -> None:
    """Flags of the tools that read data; ``training`` adds those of a training split."""
    group = parser.add_argument_group("your own data")
    parser.set_defaults(
        train_data=None, train_json=None, train_list=None, epochs=None, value_range=None,
        val_share=None, group_by=None,
    )  # fmt: skip
    _add_format_arguments(group, training)
    if training:
        add_value_range(group)
        group.add_argument(
            "--train-json", metavar="JSON", help="COCO file to train on (detection, panoptic)"
        )
    group.add_argument("--val-json", metavar="JSON", help="COCO file to evaluate on")
    group.add_argument(
        "--images",
        nargs="+",
        metavar="DIR",
        help="the images: one folder, or one of training and one of validation",
    )
    group.add_argument(
        "--labels",
        nargs="+",
        metavar="DIR",
        help="folders of label images, as --images (segmentation); beside a json those of the "
        "PNGs of segments (panoptic)",
    )
    group.add_argument(
        "--classes",
        metavar="FILE",
        help="class names, one a line (segmentation; default: classes.txt by the folders)",
    )
    group.add_argument(
        "--reduce-zero-label",
        action="store_true",
        help="label 0 is ignored, the first class is label 1 (segmentation)",
    )
    group.add_argument(
        "--mask-values",
        nargs="+",
        metavar="VALUE=NAME",
        help="class of each value of the masks, where they are no indices: 0=background 255=road; "
        "a value named ignore is ignored (segmentation)",
    )


def _add_format_arguments(group: argparse._ActionsContainer, training: bool) -> None:
    """Data in any known format."""
    if training:
        group.add_argument(
            "--train-data", metavar="PATH", help="file or folder to train on, in any known format"
        )
        group.add_argument(
            "--train-list", metavar="FILE", help="names of the training images, one a line"
        )
    group.add_argument(
        "--val-data",
        metavar="PATH",
        help="file or folder to evaluate on (default: the validation split in --train-data)",
    )
    group.add_argument("--val-list", metavar="FILE", help="names of the validation images")
    group.add_argument(
        "--data-format", choices=FORMATS, help="format of the data (default: recognised)"
    )
    group.add_argument(
        "--strict", action="store_true", help="refuse an annotation file that would be mended"
    )
    group.add_argument(
        "--boxes", action="store_true", help="leave all masks out, and use boxes alone (detection)"
    )
    group.add_argument(
        "--palette",
        metavar="FILE",
        help="colour of each class, where label images hold colours: a csv of name, red, green, "
        "blue, or CVAT's labelmap.txt (segmentation)",
    )


def add_class_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of one's own images with one class each."""
    group = parser.add_argument_group("your own data")
    parser.set_defaults(
        train_json=None, val_json=None, labels=None, reduce_zero_label=False, mask_values=None,
        palette=None, data_format=None, strict=False, boxes=False, value_range=None,
    )  # fmt: skip
    group.add_argument(
        "--train-data",
        metavar="PATH",
        help="class folders at any depth, a folder with metadata.csv or .jsonl, or such a file",
    )
    group.add_argument(
        "--val-data",
        metavar="PATH",
        help="the same to evaluate on (default: val/ or test/ in --train-data)",
    )
    group.add_argument(
        "--train-list", metavar="FILE", help="csv of name,class for a folder without class folders"
    )
    group.add_argument("--val-list", metavar="FILE", help="the same for --val-data")
    group.add_argument(
        "--classes",
        metavar="FILE",
        help="class names in their order, one a line, or a config.json with id2label "
        "(default: those of the training data, sorted)",
    )


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """A validation split taken from the training data."""
    group = parser.add_argument_group("a validation split, where there is none")
    group.add_argument(
        "--split",
        dest="val_share",
        type=float,
        metavar="SHARE",
        help="take this share of the training data for validation, by --seed",
    )
    group.add_argument(
        "--group-by",
        metavar="REGEX",
        help="with --split: images whose names match alike (the part in brackets) stay together",
    )


def add_value_range(parser: argparse._ActionsContainer) -> None:
    """The values of images of more than 8 bits."""
    parser.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values that become black and white, of images of more than 8 bits",
    )
