"""A large image of many small ones, with their objects: what tiles have to give back."""

import json
from pathlib import Path

import mmcv
import numpy as np
from pycocotools.coco import COCO

from convnext_dense.inference.runs_of_masks import place

SCALE = (256, 192)  # of the test pipeline: the longest and the shortest side at most


def write_mosaic(shapes: Path, out: Path, columns: int = 8, rows: int = 8) -> Path:
    """Puts the first validation images of the embedded data beside each other.

    Each has the size that the plain test gives it: in tiles that are not resized, the network sees
    every object at the scale at which the test of the single images shows it.

    Args:
        shapes: The drawn data.
        out: A folder to write in the same layout.
        columns, rows: Images beside and below each other; a cell has the largest image's size.

    Returns:
        The folder: ``val/mosaic.png`` and ``annotations/instances_val.json`` (masks as RLE).
    """
    source = COCO(str(shapes / "annotations/instances_val.json"))
    images = source.dataset["images"][: columns * rows]
    made = [mmcv.imrescale(_read(shapes / "val" / image["file_name"]), SCALE) for image in images]
    height, width = (max(image.shape[side] for image in made) for side in (0, 1))
    canvas = np.full((rows * height, columns * width, 3), 114, np.uint8)
    annotations = []
    for number, (image, pixels) in enumerate(zip(images, made, strict=True)):
        top, left = height * (number // columns), width * (number % columns)
        canvas[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
        scale = (pixels.shape[1] / image["width"], pixels.shape[0] / image["height"])
        for annotation in source.imgToAnns[image["id"]]:
            small = place(source.annToRLE(annotation), 0, 0, pixels.shape[:2], scale)
            x, y, w, h = np.array(annotation["bbox"]) * (2 * scale)
            moved = dict(
                image_id=1,
                bbox=[x + left, y + top, w, h],
                area=annotation["area"] * scale[0] * scale[1],
                segmentation=place(small, left, top, canvas.shape[:2]),
            )
            annotations.append({**annotation, **moved})
    (out / "val").mkdir(parents=True)
    (out / "annotations").mkdir()
    mmcv.imwrite(canvas, str(out / "val/mosaic.png"))
    large = dict(id=1, file_name="mosaic.png", height=len(canvas), width=canvas.shape[1])
    content = dict(source.dataset, images=[large], annotations=annotations)
    (out / "annotations/instances_val.json").write_text(json.dumps(content))
    return out


def _read(path: Path) -> np.ndarray:
    return mmcv.imread(str(path))
