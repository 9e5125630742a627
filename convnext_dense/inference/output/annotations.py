"""Results as annotations that annotation tools read: COCO, LabelMe, YOLO."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convnext_dense.inference.output.outlines import outlines

if TYPE_CHECKING:
    from convnext_dense.inference.base_result import Region, Result

LABELME_VERSION = "5.5.0"  # of the format that is written


def to_coco(result: "Result", image_id: int) -> list[dict[str, Any]]:
    """Annotations of one image: polygons where there are masks, ids of categories from 1.

    Annotation tools read run-length encoding as a crowd or not at all, and many take 0 for the
    background. Polygons have no holes; exact masks are in ``to_dict``. The annotations have no
    ``id``: a file numbers them over all its images.
    """
    return [
        {
            "image_id": image_id,
            "category_id": region.label + 1,
            "bbox": _left_top_size(region.box),
            "area": _area(region),
            "iscrowd": 0,
            "segmentation": [_flat(points) for points in _outlines(region)],
            **({} if region.score is None else {"score": region.score}),
        }
        for region in result.regions()
    ]


def to_labelme(result: "Result") -> dict[str, Any]:
    """A file of LabelMe: polygons where there are masks, otherwise rectangles.

    The parts of one object have the same ``group_id``; its score is in ``description``.
    """
    height, width = result.size
    shapes = []
    for number, region in enumerate(result.regions()):
        parts = _outlines(region)
        corners = np.reshape(region.box, (2, 2))
        for points in parts or [corners]:
            shapes.append(
                {
                    "label": result.classes[region.label],
                    "points": points.astype(float).tolist(),
                    "group_id": number if len(parts) > 1 else None,
                    "description": "" if region.score is None else f"score {region.score:.4f}",
                    "shape_type": "polygon" if parts else "rectangle",
                    "flags": {},
                    "mask": None,
                }
            )
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": Path(result.source.path or result.source.name).name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def to_yolo(result: "Result") -> list[str]:
    """Lines of a label file of YOLO, with numbers as parts of the image's width and height.

    ``class x y ...`` with the outline of the largest part where there are masks, otherwise ``class
    x y width height`` with the middle of the box.
    """
    height, width = result.size
    lines = []
    for region in result.regions():
        parts = _outlines(region)
        if parts:
            values = parts[0] / (width, height)
        else:
            corners = np.reshape(region.box, (2, 2)) / (width, height)
            values = np.concatenate([corners.mean(axis=0), corners[1] - corners[0]])
        numbers = " ".join(f"{value:.6f}" for value in np.clip(values, 0, 1).ravel())
        lines.append(f"{region.label} {numbers}")
    return lines


def categories(classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """COCO's categories; the ids are those of :func:`to_coco`."""
    return [{"id": label, "name": name} for label, name in enumerate(classes, start=1)]


def _outlines(region: "Region") -> list[np.ndarray]:
    return [] if region.mask is None else outlines(region.mask)


def _flat(points: np.ndarray) -> list[float]:
    return points.astype(float).ravel().tolist()


def _left_top_size(box: tuple[float, ...]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def _area(region: "Region") -> float:
    if region.mask is not None:
        return float(np.count_nonzero(region.mask))
    _, _, width, height = _left_top_size(region.box)
    return width * height
