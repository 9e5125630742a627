"""The panoptic form of the embedded data: shapes are things, and the ground is stuff.

It is made of the instances, whose masks share no pixel; a set that was drawn before there was this
form gets it when a panoptic config asks for it:

    shapes/
      annotations/panoptic_{train,val}.json        COCO panoptic format
      annotations/panoptic_{train,val}/000001.png  the segments of an image
"""

import json
import shutil
import uuid
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np

from convnext_dense.atomic_files import write_atomically
from convnext_dense.data.panoptic.segments import write_segments

GROUND = "background"
COLOUR_STEP = 40_503  # between the ids of two segments: their colours can be told apart


def add_panoptic(folder: Path, split: str) -> None:
    """Adds the panoptic form of a split where it is missing; the file is written last.

    Args:
        folder: The set, with the instances of the split.
        split: ``train`` or ``val``.
    """
    path = folder / f"annotations/panoptic_{split}.json"
    if path.is_file():
        return
    content = json.loads((path.with_name(f"instances_{split}.json")).read_text(encoding="utf-8"))
    of_image = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    ground = {"id": len(content["categories"]) + 1, "name": GROUND, "supercategory": "ground"}
    draft = path.with_name(f".panoptic_{split}-{uuid.uuid4().hex}")
    try:
        draft.mkdir()
        annotations = [
            _annotation(image, of_image[image["id"]], ground["id"], draft)
            for image in content["images"]
        ]
        with suppress(OSError):  # of several processes at once the first provides the PNGs of all
            draft.rename(path.with_suffix(""))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    categories = [{**one, "isthing": 1} for one in content["categories"]]
    categories.append({**ground, "isthing": 0})
    write_atomically(
        path, json.dumps({**content, "annotations": annotations, "categories": categories})
    )


def _annotation(image: dict, instances: list[dict], ground: int, folder: Path) -> dict:
    """Writes the PNG of an image; returns its entry."""
    ids = np.full((image["height"], image["width"]), COLOUR_STEP, np.int32)
    category = {COLOUR_STEP: ground}
    for number, instance in enumerate(instances, start=2):
        ids[_mask(instance["segmentation"])] = number * COLOUR_STEP
        category[number * COLOUR_STEP] = instance["category_id"]
    name = f"{Path(image['file_name']).stem}.png"
    write_segments(folder / name, ids)
    segments = [_segment(ids == number, number, category[number]) for number in category]
    return {
        "image_id": image["id"],
        "file_name": name,
        "segments_info": [segment for segment in segments if segment["area"]],
    }


def _segment(mask: np.ndarray, number: int, category: int) -> dict:
    area = int(mask.sum())
    rows, columns = (np.flatnonzero(mask.any(axis=axis)).tolist() or [0] for axis in (1, 0))
    width, height = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    box = [columns[0], rows[0], width, height]
    return {"id": number, "category_id": category, "area": area, "bbox": box, "iscrowd": 0}


def _mask(rle: dict) -> np.ndarray:
    """A mask of COCO's uncompressed run lengths, column by column, bool (height, width)."""
    height, width = rle["size"]
    values = np.arange(len(rle["counts"])) % 2 == 1
    return np.repeat(values, rle["counts"]).reshape(width, height).T
