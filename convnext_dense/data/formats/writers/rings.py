"""A mask as one polygon, for formats that know no holes and no second part.

Outlines run along the edges of pixels. Parts and holes are joined by lines that are drawn there and
back: they have no area, so the polygon covers the pixels of the mask and no others.
"""

from collections.abc import Sequence

import cv2
import numpy as np


def mask_rings(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of a mask, of its holes, of the islands in them and so on.

    Args:
        mask: (height, width), bool or uint8.

    Returns:
        Of each (points, 2), float: corners of pixels, x before y. A point that lies within an odd
        number of outlines belongs to the mask.
    """
    rings: list[np.ndarray] = []
    left = mask > 0
    while left.any():
        # Every pixel is drawn as the square of its corners, on a grid of half pixels.
        grid = np.zeros((2 * left.shape[0] + 1, 2 * left.shape[1] + 1), np.uint8)
        grid[1::2, 1::2] = left
        grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
        found, _ = cv2.findContours(grid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        rings += [points[:, 0].astype(float) / 2 for points in found]
        filled = cv2.drawContours(np.zeros_like(grid), found, -1, 1, cv2.FILLED)[1::2, 1::2] > 0
        left = filled & ~left
    return rings


def join_rings(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon (points, 2) out of several, joined where they are nearest to each other."""
    joined, *others = rings
    for ring in others:
        distances = ((joined[:, None] - ring[None]) ** 2).sum(-1)
        at, start = np.unravel_index(distances.argmin(), distances.shape)
        there_and_back = np.concatenate([ring[start:], ring[: start + 1], joined[at : at + 1]])
        joined = np.concatenate([joined[: at + 1], there_and_back, joined[at + 1 :]])
    return joined
