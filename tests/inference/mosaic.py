"""A large image of many small ones, with their objects: what tiles have to give back."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO


def write_mosaic(shapes: Path, out: Path, columns: int = 8, rows: int = 8) -> Path:
    """Puts the first validation images of the embedded data beside each other.

    Args:
        shapes: The drawn data.
        out: A folder to write in the same layout.
        columns, rows: Images beside and below each other; a cell has the largest image's size.

    Returns:
        The folder: ``val/mosaic.png`` and ``annotations/instances_val.json`` (masks as RLE).
    """
    source = COCO(str(shapes / "annotations/instances_val.json"))
    images = source.dataset["images"][: columns * rows]
    height, width = (max(image[side] for image in images) for side in ("height", "width"))
    canvas = np.full((rows * height, columns * width, 3), 114, np.uint8)
    annotations = []
    for number, image in enumerate(images):
        top, left = height * (number // columns), width * (number % columns)
        pixels = np.array(Image.open(shapes / "val" / image["file_name"]).convert("RGB"))
        canvas[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
        for annotation in source.imgToAnns[image["id"]]:
            mask = np.zeros(canvas.shape[:2], np.uint8)
            mask[top : top + len(pixels), left : left + pixels.shape[1]] = source.annToMask(
                annotation
            )
            rle = mask_api.encode(np.asfortranarray(mask))
            x, y, w, h = annotation["bbox"]
            moved = dict(annotation, image_id=1, bbox=[x + left, y + top, w, h])
            annotations.append(dict(moved, segmentation={**rle, "counts": rle["counts"].decode()}))
    (out / "val").mkdir(parents=True)
    (out / "annotations").mkdir()
    Image.fromarray(canvas).save(out / "val/mosaic.png")
    large = dict(id=1, file_name="mosaic.png", height=len(canvas), width=canvas.shape[1])
    content = dict(source.dataset, images=[large], annotations=annotations)
    (out / "annotations/instances_val.json").write_text(json.dumps(content))
    return out
