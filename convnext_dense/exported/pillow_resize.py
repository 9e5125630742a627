"""Pillow's resizing of 8-bit images in numpy, to the last bit.

Classifiers were trained on images that Pillow made smaller. Its filters average over the area of a
pixel, which OpenCV's do not; so a model without Pillow must do it itself. The arithmetic is that of
Pillow's documentation and sources (``src/libImaging/Resample.c``): weights as whole numbers of 22
bits, one axis after the other, each result rounded to 8 bits. Which axis comes first changes the
last bits: Pillow 13 takes the rows where they lose more than twice what the columns do, as was
found by comparing both orders with it; earlier ones always took the columns.
"""

from collections.abc import Callable

import numpy as np

BITS = 22  # of a weight
STEEPNESS = -0.5  # of Pillow's bicubic filter


def _bicubic(x: np.ndarray) -> np.ndarray:
    x, a = np.abs(x), STEEPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1 - np.abs(x))


# Its reach on each side, and its weight at a distance in pixels.
FILTERS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "pillow_bicubic": (2.0, _bicubic),
    "pillow_bilinear": (1.0, _triangle),
}


def pillow_resize(
    image: np.ndarray, width: int, height: int, name: str, columns_first: bool = False
) -> np.ndarray:
    """Resizes an image as ``PIL.Image.resize`` does.

    Args:
        image: uint8 (height, width, channels).
        width, height: Of the result.
        name: In :data:`FILTERS`.
        columns_first: Whatever the sizes, as before version 13.

    Returns:
        uint8 (height, width, channels).
    """
    rows_first = not columns_first and image.shape[0] - height > max(
        0, 2 * (image.shape[1] - width)
    )
    for axis in (0, 1) if rows_first else (1, 0):
        length = (height, width)[axis]
        if length != image.shape[axis]:
            image = _along_rows(image.swapaxes(0, axis), length, name).swapaxes(0, axis)
    return np.ascontiguousarray(image)


def _along_rows(image: np.ndarray, length: int, name: str) -> np.ndarray:
    """Resizes the first axis."""
    first, weights = _weights(image.shape[0], length, name)
    total = np.full((length, *image.shape[1:]), 1 << (BITS - 1), np.int64)
    shape = length, *[1] * (image.ndim - 1)
    for step in range(weights.shape[1]):
        row = np.minimum(first + step, image.shape[0] - 1)  # beyond the end the weight is 0
        total += image[row].astype(np.int64) * weights[:, step].reshape(shape)
    return np.clip(total >> BITS, 0, 255).astype(np.uint8)


def _weights(source: int, length: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The first source row of each row, and the weights (length, rows) from there on."""
    reach, weigh = FILTERS[name]
    scale = source / length
    stretch = max(scale, 1.0)
    reach *= stretch
    centre = (np.arange(length) + 0.5) * scale
    first = np.maximum(0, (centre - reach + 0.5).astype(np.int64))
    end = np.minimum(source, (centre + reach + 0.5).astype(np.int64))
    step = np.arange(int((end - first).max()))
    weights = weigh((step + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch))
    weights = np.where(step < (end - first)[:, None], weights, 0.0)
    weights /= weights.sum(1, keepdims=True)
    exact = weights * (1 << BITS)
    return first, np.where(exact < 0, np.ceil(exact - 0.5), np.floor(exact + 0.5)).astype(np.int64)
