"""A panoptic model's own data as its dataset reads it: named in parts, divided where asked for."""

import json
import os
from dataclasses import replace
from pathlib import Path

from convnext_dense.atomic_files import wait_for, write_once
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.data.own.split_file import SPLIT_FILE, settle_split
from convnext_dense.data.own.splitting import remark_split
from convnext_dense.data.panoptic.annotation_file import read_panoptic
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

PARTS = "--train-json, --val-json, --images and --labels, the folders of the PNGs"


def prepare_panoptic(own_data: OwnData) -> OwnData:
    """Checks the flags, and divides the training data where ``--split`` says so.

    Raises:
        UserError: For flags of other tasks, files that are no panoptic data, and ``--split``
            without a folder to write to.
    """
    for value, flag in (
        (own_data.task is None, "--train-data"),
        (own_data.classes, "--classes"),
        (own_data.reduce_zero_label, "--reduce-zero-label"),
        (own_data.mask_values, "--mask-values"),
        (own_data.palette, "--palette"),
        (own_data.lists, "--train-list and --val-list"),
        (own_data.boxes, "--boxes"),
        (own_data.data_format, "--data-format"),
    ):
        if value:
            raise UserError(
                f"{flag} is not for panoptic data, which has COCO's form and is named in parts: "
                f"{PARTS}."
            )
    if own_data.val_share is None:
        return own_data
    images, path = own_data.sources["train"]
    sides = _divide(own_data, path)
    folder = own_data.segments[os.path.abspath(path)]
    segments = {os.path.abspath(file): folder for file in sides.values()}
    sources = {
        split: (images, sides["train" if split == "train" else "val"]) for split in own_data.splits
    }
    return replace(own_data, sources=sources, segments=segments)


def _divide(own_data: OwnData, path: Path) -> dict[str, Path]:
    """Files of the training and the validation side of a panoptic file."""
    if own_data.folder is None:
        raise UserError("--split needs a folder to write to.")
    summary, content = read_panoptic(str(path)), read_json(path)
    images = [image for image in summary.images if image.png is not None]
    names = [image.file_name for image in images]
    labels = [{segment.category for segment in image.segments} for image in images]
    sides = settle_split(
        own_data.folder / SPLIT_FILE, names, labels, own_data.val_share, own_data.seed,
        own_data.group_by, own_data.resume, own_data.is_first,
    )  # fmt: skip
    if own_data.is_first:
        counts = " and ".join(f"{len(side):,}" for side in sides)
        print(f"--split {own_data.val_share:g}: {counts} images for training and validation")
        print("".join(f"{remark}\n" for remark in remark_split(names, labels, sides[1])), end="")
    files = {}
    for split, side in zip(("train", "val"), sides, strict=True):
        text = json.dumps(_part(content, {i.id for i in images if i.file_name in set(side)}))
        files[split] = own_data.folder / f"{split}.json"
        write_once(files[split], text) if own_data.is_first else wait_for(files[split], text)
    return files


def _part(content: dict, ids: set) -> dict:
    """The content of a file about some of its images."""
    return content | dict(
        images=[image for image in content["images"] if image["id"] in ids],
        annotations=[one for one in content["annotations"] if one["image_id"] in ids],
    )
