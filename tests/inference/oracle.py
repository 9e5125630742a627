"""Images whose pixels are the numbers of objects, and a "model" that reads them off."""

import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from convnext_dense.inference.instances import Instances

CLASSES = 2


def encode(mask: np.ndarray) -> dict:
    rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {**rle, "counts": rle["counts"].decode()}


def shape(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A connected shape that fills its (height, width)."""
    rows, columns = np.mgrid[:height, :width]
    kind = rng.integers(4)
    if kind == 0:
        return np.ones((height, width), bool)
    if kind == 1:  # an ellipse
        down, across = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
        return down**2 + across**2 <= 0.27
    thick = 1 + int(rng.integers(3))
    if kind == 2:  # a U, whose legs meet far away
        return (columns < thick) | (columns >= width - thick) | (rows >= height - thick)
    return (rows % (2 * thick) < thick) | (columns < thick)  # a comb


@st.composite
def scenes(draw) -> np.ndarray:
    """Numbers of objects (height, width), 0 where there is none; objects may touch."""
    height, width = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    scene = np.zeros((height, width), int)
    for number in range(1, draw(st.integers(0, 12)) + 1):
        largest = [int(rng.integers(1, side + 1)) for side in (height, width)]
        sides = [int(rng.integers(1, side + 1)) for side in largest]
        top = int(rng.integers(0, height - sides[0] + 1))
        left = int(rng.integers(0, width - sides[1] + 1))
        spot = scene[top : top + sides[0], left : left + sides[1]]
        drawn = shape(rng, *sides)
        if not spot[drawn].any():
            spot[drawn] = number
    return scene


def objects(scene: np.ndarray, masks: bool = True) -> Instances:
    """The truth about a scene or a part of it; scores differ from part to part."""
    numbers = np.unique(scene[scene > 0])
    encoded = [encode(scene == number) for number in numbers]
    boxes = [mask_api.toBbox(rle) for rle in encoded]
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32).reshape(-1, 4)
    areas = np.array([mask_api.area(rle) for rle in encoded])
    return Instances(
        boxes,
        (0.1 + areas / (scene.size + 1) * 0.9).astype(np.float32),
        (numbers % CLASSES).astype(np.int64),
        encoded if masks else None,
    )
