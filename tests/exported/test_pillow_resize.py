"""Resizing without Pillow against Pillow itself, bit for bit."""

import numpy as np
import pytest
from PIL import Image

from convnext_dense.export.describing import columns_first
from convnext_dense.exported.pillow_resize import FILTERS, pillow_resize

PILLOWS = {
    "pillow_bicubic": Image.Resampling.BICUBIC,
    "pillow_bilinear": Image.Resampling.BILINEAR,
}


def drawn(random: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Noise, and sharp edges where a bicubic filter leaves the range of 8 bits."""
    image = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    image[: height // 2, : width // 2] = random.choice([0, 255])
    return image


def test_every_filter_has_its_reference():
    assert set(PILLOWS) == set(FILTERS)


@pytest.mark.parametrize("name", PILLOWS)
def test_random_sizes_are_pillows(name):
    random, first = np.random.default_rng(1), columns_first()
    for _ in range(60):
        height, width, new_height, new_width = random.integers(1, 150, 4).tolist()
        image = drawn(random, height, width, 3)
        theirs = Image.fromarray(image).resize((new_width, new_height), PILLOWS[name])
        ours = pillow_resize(image, new_width, new_height, name, first)
        np.testing.assert_array_equal(ours, np.asarray(theirs), err_msg=str(image.shape))


@pytest.mark.parametrize("name", PILLOWS)
def test_each_order_of_the_axes_is_two_steps_of_pillow(name):
    random = np.random.default_rng(2)
    image = drawn(random, 150, 90, 3)
    for first in (True, False):  # 150 -> 40 rows, 90 -> 80 columns: later versions take the rows
        steps = [(80, 150), (80, 40)] if first else [(90, 40), (80, 40)]
        theirs = Image.fromarray(image)
        for size in steps:
            theirs = theirs.resize(size, PILLOWS[name])
        ours = pillow_resize(image, 80, 40, name, columns_first=first)
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_channels_are_independent_of_each_other():
    random = np.random.default_rng(3)
    image = drawn(random, 61, 47, 5)
    together = pillow_resize(image, 30, 33, "pillow_bicubic")
    for channel in range(5):
        alone = pillow_resize(image[..., [channel]], 30, 33, "pillow_bicubic")
        np.testing.assert_array_equal(together[..., [channel]], alone)
