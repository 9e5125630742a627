"""Segments over an image: each in its class's colour, instances of one class told apart."""

from collections.abc import Mapping

import cv2
import numpy as np

OPAQUE = 0.5  # of colours over the image
EDGE = (255, 255, 255)
SHADES = (1.0, 0.7, 1.3, 0.85, 1.15, 0.55)  # of a class's instances, one after another


def paint_segments(
    image: np.ndarray, ids: np.ndarray, labels: Mapping[int, int], colours: np.ndarray
) -> np.ndarray:
    """A copy of an image under its segments, with a line between them.

    Args:
        image: RGB, uint8 (height, width, 3).
        ids: The id of each pixel's segment, int (height, width).
        labels: The class of each segment by its id; pixels of other ids stay as they are.
        colours: RGB of each class, uint8 (classes, 3).
    """
    numbers = np.array(sorted(labels), np.int64)
    table = np.zeros((len(numbers) + 1, 3))
    shown: dict[int, int] = {}
    for place, number in enumerate(numbers.tolist()):
        label = labels[number]
        shade = SHADES[shown.get(label, 0) % len(SHADES)]
        shown[label] = shown.get(label, 0) + 1
        table[place] = np.clip(colours[label] * shade, 0, 255)
    places = np.searchsorted(numbers, ids) if len(numbers) else np.zeros(ids.shape, np.int64)
    known = np.isin(ids, numbers)
    painted = image.copy()
    mixed = (1 - OPAQUE) * image + OPAQUE * table[np.where(known, places, len(numbers))]
    painted[known] = mixed[known].astype(np.uint8)
    painted[_edges(np.where(known, ids, 0))] = EDGE
    return painted


def _edges(ids: np.ndarray) -> np.ndarray:
    """Where a pixel's right or lower neighbour belongs to another segment, bool."""
    edges = np.zeros(ids.shape, bool)
    edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edges[:-1] |= ids[:-1] != ids[1:]
    return edges


def middle(mask: np.ndarray) -> tuple[float, float]:
    """The point (x, y) of a mask that is furthest from its edge."""
    padded = np.pad(mask.astype(np.uint8), 1)
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(padded, cv2.DIST_L2, 3))
    return x - 1, y - 1
