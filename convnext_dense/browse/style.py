"""How classes look in a drawing: their colours, and the height of their names."""

import colorsys
from collections.abc import Sequence

import numpy as np

GOLDEN_TURN = 0.61803398875  # of the colour circle: neighbours in number are far apart in colour
TONES = ((0.75, 0.95), (0.9, 0.6), (0.4, 0.95))  # saturation and value, eight classes each


def class_colours(count: int) -> np.ndarray:
    """One colour a class, RGB, uint8 (count, 3)."""
    colours = []
    for number in range(count):
        hue = (0.02 + number * GOLDEN_TURN) % 1
        tone = TONES[number // 8 % len(TONES)]
        colours.append([round(255 * part) for part in colorsys.hsv_to_rgb(hue, *tone)])
    return np.array(colours, np.uint8).reshape(-1, 3)


def name_size(size: Sequence[int]) -> int:
    """The height of names in an image of two sides, so that they can be read on a sheet too."""
    return max(13, max(size) // 50)
