"""Masks of a few pixels inside of boxes, brought into the image: as mmdet's FCNMaskHead does."""

import numpy as np


def paste(mask: np.ndarray, box: np.ndarray, size: tuple[int, int], least: float) -> np.ndarray:
    """A mask in its image.

    Args:
        mask: Probabilities (side, side) inside of the box.
        box: Left, top, right, bottom in pixels of the image.
        size: Height and width of the image.
        least: A pixel of this probability or a higher one belongs to the object.

    Returns:
        bool (height, width).
    """
    left, top, right, bottom = (float(edge) for edge in box)
    rows = _span(top, bottom, size[0])
    columns = _span(left, right, size[1])
    pasted = np.zeros(size, bool)
    down = _weights(np.arange(*rows), top, bottom, mask.shape[0])
    across = _weights(np.arange(*columns), left, right, mask.shape[1])
    inside = down @ mask.astype(np.float32) @ across.T
    pasted[slice(*rows), slice(*columns)] = inside >= least
    return pasted


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    """The pixels that a box touches, with one more on each side."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0, 0
    first = min(max(int(np.floor(low)) - 1, 0), length)
    return first, max(first, min(int(np.ceil(high)) + 1, length))


def _weights(pixels: np.ndarray, low: float, high: float, side: int) -> np.ndarray:
    """Bilinear weights (pixels, side) of a mask's rows at the middles of pixels; 0 outside."""
    extent = np.float32(high - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (pixels.astype(np.float32) + np.float32(0.5) - np.float32(low)) / extent
    place = place * np.float32(side) - np.float32(0.5)
    # In a box without extent mmdet sees the mask's middle; exactly on its edge nothing.
    place[np.isinf(place)] = (side - 1) / 2
    place[np.isnan(place)] = -2.0
    weights = 1 - np.abs(place[:, None] - np.arange(side, dtype=np.float32)[None])
    return np.maximum(weights, 0.0)
