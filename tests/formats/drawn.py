"""Small datasets that the tests of formats draw: images of noise, and objects on them."""

from pathlib import Path

import numpy as np
from PIL import Image

from convnext_dense.data.formats.geometry import encode_mask, mask_box, polygon_area, polygons_box

SIZES = ((97, 64), (50, 81), (33, 33))  # width, height
CLASSES = ("cat", "dog 2", "dog 10", "ölfaß")  # the last without an instance


def write_image(path: Path, size: tuple[int, int] = (100, 50), turned: bool = False) -> Path:
    """An image of (width, height) as its file stores it; turned by its EXIF entry if asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def content(folder: Path, kind: str, seed: int = 0) -> dict:
    """COCO's content of a split, with images in a folder: ``boxes``, ``polygons`` or ``masks``."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number, (width, height) in enumerate(SIZES, start=1):
        path = write_image(folder / f"{seed}_{number}.png", (width, height))
        images.append(dict(id=number, file_name=str(path), width=width, height=height))
        for category in (1, 3, 2)[: number - 1]:  # the first image holds nothing
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": category,
                "iscrowd": 0, **_shape(rng, kind, width, height, len(annotations)),
            })  # fmt: skip
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _shape(rng: np.random.Generator, kind: str, width: int, height: int, place: int) -> dict:
    if kind == "boxes":
        start, end = rng.uniform(0, 0.4, 2), rng.uniform(0.5, 1, 2)
        x, y, w, h = *(start * (width, height)), *((end - start) * (width, height))
        return dict(bbox=[float(x), float(y), float(w), float(h)], area=float(w * h))
    if kind == "polygons":
        angles = np.arange(6) * (np.pi / 3) + rng.uniform(0, 1)
        radii = rng.uniform(0.3, 0.5, (6, 1))
        around = 0.5 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        polygon = (around * (width, height)).ravel().tolist()
        box = polygons_box([polygon])
        return dict(segmentation=[polygon], bbox=box, area=polygon_area(polygon))
    mask = np.zeros((height, width), bool)  # a ring with an island, and a second part
    left = 2 + 10 * (place % 2)
    mask[2:12, left : left + 9] = True
    mask[4:10, left + 2 : left + 7] = False
    mask[6, left + 4] = True
    mask[20:25, left + 1 : left + 5] = rng.random((5, 4)) < 0.6
    mask[20, left + 1] = True
    return dict(segmentation=encode_mask(mask), bbox=mask_box(mask), area=int(mask.sum()))


def boxes(found: dict) -> list[tuple[str, str, list[float]]]:
    """Image, class and box of each annotation."""
    names = {image["id"]: Path(image["file_name"]).name for image in found["images"]}
    classes = {category["id"]: category["name"] for category in found["categories"]}
    return [
        (names[one["image_id"]], classes[one["category_id"]], one["bbox"])
        for one in found["annotations"]
    ]
