"""Run-length encoding against pycocotools and pixels."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from convnext_dense.inference.rle_codec import (
    Runs,
    decode,
    encode,
    overlaps,
    run_lengths,
    runs_of_mask,
    runs_of_rle,
    to_rle,
    union,
)


def reference(mask: np.ndarray) -> dict:
    rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {**rle, "counts": rle["counts"].decode()}


@st.composite
def several(draw, most: int = 4) -> list[np.ndarray]:
    """Masks of one size: empty, full, speckled or coarse, from one pixel up."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    found = []
    for _ in range(draw(st.integers(1, most))):
        mask = rng.random((height, width)) < draw(st.sampled_from([0, 0.02, 0.3, 0.7, 0.98, 1]))
        grain = draw(st.integers(1, 9))
        found.append(mask[::grain, ::grain].repeat(grain, 0).repeat(grain, 1)[:height, :width])
    return found


def large() -> np.ndarray:
    """An ellipse and speckles in 4000 x 3000 pixels."""
    rows, columns = np.mgrid[:3000, :4000]
    mask = (rows - 1500) ** 2 / 4 + (columns - 2000) ** 2 <= 1000**2 / 2
    mask[:50, :60] = np.random.default_rng(0).random((50, 60)) < 0.5
    return mask


@settings(max_examples=300, deadline=None)
@given(several(1))
def test_bytes_area_and_box(masks):
    (mask,) = masks
    expected = reference(mask)
    for kind in (mask, mask.astype(np.uint8), np.asfortranarray(mask), mask[::-1][::-1]):
        assert encode(kind) == expected
    np.testing.assert_array_equal(decode(expected), mask)
    assert decode({**expected, "counts": expected["counts"].encode()}).dtype == bool
    left, top, width, height = mask_api.toBbox(expected)
    for runs in (runs_of_mask(mask), runs_of_rle(expected)):
        assert runs.area == mask.sum() == mask_api.area(expected)
        assert runs.box == (left, top, left + width, top + height)
        assert to_rle(runs) == expected


def test_a_large_mask():
    mask = large()
    assert encode(mask) == reference(mask)
    np.testing.assert_array_equal(decode(encode(mask)), mask)
    for full in (np.zeros_like(mask), np.ones_like(mask)):
        assert encode(full) == reference(full)
        np.testing.assert_array_equal(decode(encode(full)), full)


@pytest.mark.parametrize("length", [15, 16, 511, 512, 2**20, 2**30])
def test_counts_of_every_number_of_characters(length):
    """Growing and falling ones, whose differences are negative."""
    counts = [3, length, 7, 1, length, 2 * length + 5, 1, 4]
    size = [1, sum(counts)]
    rle = mask_api.frPyObjects({"size": size, "counts": counts}, *size)
    assert run_lengths(rle).tolist() == counts
    assert to_rle(runs_of_rle(rle)) == {"size": size, "counts": rle["counts"].decode()}


@settings(max_examples=200, deadline=None)
@given(several(5), st.integers(0, 5))
def test_overlaps_and_union(masks, first):
    first = min(first, len(masks))
    rles, runs = [reference(mask) for mask in masks], [runs_of_mask(mask) for mask in masks]
    ones, others = (slice(None, first), slice(first, None))
    for as_share in (False, True):
        found = overlaps(runs[ones], runs[others], as_share)
        assert found.shape == (first, len(masks) - first)
        if found.size:
            crowd = [int(as_share)] * found.shape[1]
            np.testing.assert_array_equal(found, mask_api.iou(rles[ones], rles[others], crowd))
    united = to_rle(union(runs))
    assert united == reference(np.any(masks, axis=0))
    assert united["counts"] == mask_api.merge(rles)["counts"].decode()


def test_runs_that_touch_are_one():
    runs = Runs(np.array([2, 4, 9]), np.array([4, 6, 12]), (3, 5))
    mask = np.zeros(15, bool)
    mask[[2, 3, 4, 5, 9, 10, 11]] = True
    assert to_rle(runs) == to_rle(union([runs])) == reference(mask.reshape(5, 3).T)
    assert runs.box == (0, 0, 4, 3) and runs.area == 7
    assert len(union([runs]).starts) == 2


def test_runs_of_no_pixels():
    """As other tools write them."""
    rle = mask_api.frPyObjects({"size": [2, 5], "counts": [1, 2, 0, 3, 4]}, 2, 5)
    np.testing.assert_array_equal(decode(rle), mask_api.decode(rle))
    assert runs_of_rle(rle).area == 5


def seconds(work: Callable) -> float:
    """The least time of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_it_is_as_fast_as_pycocotools():
    """Of an image's size, where it counts; the bound leaves room for a busy machine."""
    mask = large()[::3, ::3].copy()
    rle = reference(mask)
    assert seconds(lambda: encode(mask)) < 3 * seconds(lambda: reference(mask))
    assert seconds(lambda: decode(rle)) < 3 * seconds(lambda: mask_api.decode(rle).astype(bool))
