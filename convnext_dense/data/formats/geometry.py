"""Shapes in pixels: areas and boxes of polygons, rotated boxes, ellipses, masks.

Coordinates count from the upper left corner of the image: the first pixel reaches from 0 to 1.
"""

import math
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as mask_api

from convnext_dense.errors import UserError

EDGE = 1.0  # pixels over the edge that rounding explains
ELLIPSE_POINTS = 72  # a multiple of four: the box of the polygon is that of the ellipse


def polygon_area(polygon: Sequence[float]) -> float:
    """Area of a polygon ``[x1, y1, x2, y2, ...]`` in square pixels."""
    points = np.asarray(polygon, float).reshape(-1, 2)
    x, y = (points - points[0]).T  # near the origin, where products lose no digits
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def polygons_area(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> float:
    """Area in square pixels of an object of several polygons: the pixels of its mask.

    Of one that is too small for any pixel, the area of its lines.

    Args:
        polygons: Polygons within their image.
        size: (width, height) of the image.
    """
    pixels = mask_api.area(_encoded(list(polygons), size))
    return float(pixels or sum(map(polygon_area, polygons)))


def within_image(points: Sequence[float], size: tuple[int, int], where: str) -> list[float]:
    """Points ``[x1, y1, x2, y2, ...]``, cut at the edge of their image.

    Args:
        points: In pixels.
        size: (width, height) of the image.
        where: File and entry, for the message.

    Raises:
        UserError: When one is more than :data:`EDGE` pixels over the edge, or no finite number.
    """
    pairs = np.asarray(points, float).reshape(-1, 2)
    if not np.isfinite(pairs).all():
        raise UserError(f"{where} has a coordinate that is no finite number: correct or remove it.")
    over = np.maximum(-pairs, pairs - size).max()
    if over > EDGE:
        raise UserError(
            f"{where} reaches {over:.1f} pixels over the edge of its image of {size[0]} x "
            f"{size[1]}: correct or remove it."
        )
    return np.clip(pairs, 0, size).ravel().tolist()


def cut_at_edge(polygon: Sequence[float], size: tuple[int, int], where: str) -> list[float]:
    """What an image shows of a convex polygon, such as a turned box or an ellipse.

    Raises:
        UserError: When half of it or more lies outside, or a coordinate is no finite number.
    """
    import cv2

    points = np.asarray(polygon, np.float32).reshape(-1, 2)
    if not np.isfinite(points).all() or ((points >= 0) & (points <= size)).all():
        return within_image(polygon, size, where)
    corners = np.asarray(box_polygon([0, 0, *size]), np.float32).reshape(-1, 2)
    inside, cut = cv2.intersectConvexConvex(points, corners)
    if inside <= polygon_area(polygon) / 2:
        raise UserError(
            f"{where} lies outside of its image of {size[0]} x {size[1]} pixels, by half or more: "
            "correct or remove it."
        )
    return np.clip(cut.reshape(-1, 2).astype(float), 0, size).ravel().tolist()


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
    return mask_api.decode(_encoded(segmentation, size))


def _encoded(segmentation: list | dict, size: tuple[int, int]) -> dict:
    width, height = size
    if isinstance(segmentation, list):
        return mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return mask_api.frPyObjects(segmentation, height, width)
    return segmentation
