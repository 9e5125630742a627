"""Masks in their images against mmdet's own pasting."""

import numpy as np
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

from convnext_dense.exported.masks import paste

SIZE = (61, 83)
BORDERLINE = 1e-5  # probabilities nearer to the threshold may fall on either side


def reference(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """mmdet's probabilities in the image; NaN outside of the area that it computes."""
    inside, place = _do_paste_mask(
        torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], *SIZE, skip_empty=True
    )
    whole = np.zeros(SIZE, np.float32)
    whole[place] = inside[0].numpy()
    return whole


def check(mask: np.ndarray, box: np.ndarray, least: float = 0.5) -> None:
    expected, found = reference(mask, box), paste(mask, box, SIZE, least)
    clear = np.abs(expected - least) > BORDERLINE
    np.testing.assert_array_equal(found[clear], (expected >= least)[clear], err_msg=str(box))


def test_boxes_of_any_place_and_size():
    random = np.random.default_rng(0)
    for side in (14, 28):
        for _ in range(150):
            mask = random.random((side, side), dtype=np.float32)
            left, right = np.sort(random.uniform(0, SIZE[1], 2))
            top, bottom = np.sort(random.uniform(0, SIZE[0], 2))
            check(mask, np.array([left, top, right, bottom], np.float32))


def test_boxes_at_the_border_and_without_extent():
    mask = np.random.default_rng(1).random((28, 28), dtype=np.float32)
    height, width = SIZE
    for box in (
        (0, 0, width, height),
        (width, 3, width, 40),
        (0, 3, 0, 40),
        (5, height, 60, height),
        (12.25, 7.5, 12.25, 30),
        (20, 20, 20.001, 20.001),
        (width - 0.5, height - 0.5, width, height),
    ):
        for value in (mask, np.ones_like(mask)):
            check(value, np.array(box, np.float32))


def test_the_threshold_counts():
    mask = np.full((28, 28), 0.5, np.float32)
    box = np.array([10, 10, 30, 30], np.float32)
    assert paste(mask, box, SIZE, 0.5).sum() == paste(np.ones_like(mask), box, SIZE, 0.9999).sum()
    assert not paste(mask, box, SIZE, 0.51).any()


def test_a_box_that_is_no_number_has_no_pixel():
    box = np.array([np.nan, 0, 10, 10], np.float32)
    assert not paste(np.ones((28, 28), np.float32), box, SIZE, 0.5).any()
