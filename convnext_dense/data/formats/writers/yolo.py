"""YOLO as Ultralytics reads it: ``data.yaml``, ``images/SPLIT``, ``labels/SPLIT``."""

from pathlib import Path

import numpy as np
import yaml

from convnext_dense.data.formats.geometry import polygons_box, segmentation_mask
from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.formats.writers.rings import join_rings, mask_rings
from convnext_dense.data.formats.writers.split import Place, Split, folder_of

DIGITS = 12  # of a share: a millionth of a pixel in any image
PIXEL = 1.0  # a box that moves by more is said


def write(folder: Path, splits: dict[str, Split], place: Place, remarks: Remarks) -> None:
    """Writes all splits; objects with a mask become polygons, the others boxes."""
    with_masks = any(split.has_masks for split in splits.values())
    for name, split in splits.items():
        images, labels = (folder_of(folder / kind / name) for kind in ("images", "labels"))
        for image, new, annotations in split.images:
            place(Path(image["file_name"]), images / new)
            rows = [_row(image, one, split.classes, with_masks, remarks) for one in annotations]
            text = "".join(f"{row}\n" for row in rows if row)
            (labels / new).with_suffix(".txt").write_text(text, encoding="utf-8")
    classes = next(iter(splits.values())).classes
    content = {
        **{name: f"images/{name}" for name in splits},
        "names": dict(enumerate(classes)),
        "task": "segment" if with_masks else "detect",  # else four corners would read as oriented
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _row(
    image: dict, annotation: dict, classes: tuple[str, ...], with_masks: bool, remarks: Remarks
) -> str | None:
    """The row of an object; None where YOLO cannot hold it."""
    where = f"annotation {annotation['id']} of {image['file_name']}"
    if annotation.get("iscrowd"):
        remarks.count("crowds are left out: YOLO has none", where)
        return None
    size = image["width"], image["height"]
    points = _polygon(image, annotation, remarks, where) if annotation.get("segmentation") else None
    if points is None:
        if with_masks:
            remarks.count("objects without a mask are boxes among polygons", where)
        values = _box(annotation["bbox"], size, remarks, where)
    else:
        inside = np.clip(points, 0, size)
        if np.abs(inside - points).max() > PIXEL:
            remarks.count("polygons are cut at the edge of their image", where)
        moved = np.subtract(polygons_box([inside.ravel()]), annotation["bbox"])
        if np.abs(moved).max() > PIXEL:
            remarks.count("boxes become those of their masks, more than a pixel elsewhere", where)
        values = (inside / size).ravel().tolist()
    index = classes.index(annotation["name"])
    return " ".join([str(index), *(f"{value:.{DIGITS}g}" for value in values)])


def _box(box: list[float], size: tuple[int, int], remarks: Remarks, where: str) -> list[float]:
    corners = np.array([box[:2], [box[0] + box[2], box[1] + box[3]]], float)
    inside = np.clip(corners, 0, size)
    if np.abs(inside - corners).max() > PIXEL:
        remarks.count("boxes are cut at the edge of their image", where)
    start, end = inside / size
    return [*((start + end) / 2).tolist(), *(end - start).tolist()]


def _polygon(image: dict, annotation: dict, remarks: Remarks, where: str) -> np.ndarray | None:
    """The one polygon of an object (points, 2); None for an empty mask."""
    segmentation, size = annotation["segmentation"], (image["width"], image["height"])
    if isinstance(segmentation, list):
        parts = [np.asarray(part, float).reshape(-1, 2) for part in segmentation if len(part) > 4]
        if len(parts) > 1:
            masks = [segmentation_mask([part.ravel().tolist()], size) for part in parts]
            if np.sum(masks, axis=0, dtype=int).max() > 1:  # parts that overlap: their outline
                parts = mask_rings(np.any(masks, axis=0))
    else:
        parts = mask_rings(segmentation_mask(segmentation, size))
        remarks.count("masks are polygons along the edges of their pixels", where)
    if len(parts) > 1:
        remarks.count("objects of several parts or with holes are joined to one polygon", where)
    return join_rings(parts) if parts else None
