"""Outlines of masks as polygons, for the formats that know no run-length encoding."""

import cv2
import numpy as np

TOLERANCE = 0.75  # pixels: a slanted edge becomes a line instead of a staircase of pixels


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The outer outlines of a mask, the largest first; holes are not among them.

    The points lie on the corners of pixels, as COCO counts: a mask of the pixel (0, 0) alone has
    the corners (0, 0) and (1, 1). OpenCV's contours run through the middle of the outermost pixels,
    half a pixel further in.

    Args:
        mask: (height, width), bool or uint8.

    Returns:
        Of each part (points, 2), float32, x before y; at least three points, within
        :data:`TOLERANCE` of the mask's edge.
    """
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    # Every pixel is drawn as the square of its corners, on a grid of half pixels.
    grid = np.zeros((2 * part.shape[0] + 1, 2 * part.shape[1] + 1), np.uint8)
    grid[1::2, 1::2] = part
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
    found, _ = cv2.findContours(grid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = sorted(found, key=cv2.contourArea, reverse=True)
    offset = np.array([left, top], np.float32)
    return [_simplify(points[:, 0].astype(np.float32) / 2) + offset for points in found]


def _simplify(points: np.ndarray) -> np.ndarray:
    simple = cv2.approxPolyDP(points[:, None], TOLERANCE, closed=True)[:, 0]
    return simple if len(simple) > 2 else points
