"""Shapes in pixels: areas and boxes of polygons, rotated boxes, ellipses, masks.

Coordinates count from the upper left corner of the image: the first pixel reaches from 0 to 1.
"""

import math
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as mask_api

ELLIPSE_POINTS = 72  # a multiple of four: the box of the polygon is that of the ellipse


def polygon_area(polygon: Sequence[float]) -> float:
    """Area of a polygon ``[x1, y1, x2, y2, ...]`` in square pixels."""
    points = np.asarray(polygon, float).reshape(-1, 2)
    x, y = (points - points[0]).T  # near the origin, where products lose no digits
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def polygons_box(polygons: Sequence[Sequence[float]]) -> list[float]:
    """The box ``[x, y, width, height]`` around polygons."""
    points = np.concatenate([np.asarray(polygon, float).reshape(-1, 2) for polygon in polygons])
    left, top = points.min(0).tolist()
    right, bottom = points.max(0).tolist()
    return [left, top, right - left, bottom - top]


def box_polygon(box: Sequence[float]) -> list[float]:
    """The corners of a box ``[x, y, width, height]``, clockwise."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def rotate(polygon: Sequence[float], centre: tuple[float, float], degrees: float) -> list[float]:
    """Turns a polygon clockwise, as seen in an image, about a point."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = np.asarray(polygon, float).reshape(-1, 2) - centre
    return (points @ turn + centre).ravel().tolist()


def ellipse_polygon(x: float, y: float, radius_x: float, radius_y: float) -> list[float]:
    """An ellipse about a point as a polygon of :data:`ELLIPSE_POINTS`."""
    angles = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    points = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)
    return points.ravel().tolist()


def encode_mask(mask: np.ndarray) -> dict:
    """A mask (height, width) as COCO's RLE with text counts."""
    rle = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def mask_box(mask: np.ndarray) -> list[float]:
    """The box ``[x, y, width, height]`` around the pixels of a mask, which has some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = float(columns[0]), float(rows[0])
    return [left, top, columns[-1] + 1 - left, rows[-1] + 1 - top]


def segmentation_mask(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """Polygons or RLE of an image of (width, height) as a mask (height, width), uint8."""
    width, height = size
    if isinstance(segmentation, list):
        rle = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = mask_api.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return mask_api.decode(rle)
