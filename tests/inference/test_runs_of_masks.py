"""Run arithmetic against pycocotools and pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from convnext_dense.inference.rle_codec import run_lengths
from convnext_dense.inference.runs_of_masks import place


def encode(mask: np.ndarray) -> dict:
    return mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))


@st.composite
def masks(draw) -> np.ndarray:
    """Empty, full, speckled or coarse masks, from one pixel up."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    mask = rng.random((height, width)) < draw(st.sampled_from([0, 0.02, 0.3, 0.7, 0.98, 1]))
    grain = draw(st.integers(1, 9))
    return mask[::grain, ::grain].repeat(grain, 0).repeat(grain, 1)[:height, :width]


@given(masks())
def test_the_numbers_of_the_text(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0))
    lengths = np.diff(edges, prepend=0, append=flat.size)
    rle = encode(mask)
    assert run_lengths(rle).tolist() == lengths.tolist()
    assert run_lengths({**rle, "counts": rle["counts"].decode()}).tolist() == lengths.tolist()


def test_long_runs():
    """Counts beyond 2**30, and falling ones, whose differences are negative."""
    runs = {"size": [50_000, 60_000], "counts": [5, 2_000_000_000, 7, 3, 1_000, 999_998_985]}
    rle = mask_api.frPyObjects(runs, 50_000, 60_000)
    assert run_lengths(rle).tolist() == runs["counts"]


@settings(max_examples=300)
@given(masks(), st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60))
def test_moved_and_cut(mask, left, top, height, width):
    far = np.zeros((height + 200, width + 200), bool)
    far[100 + top : 100 + top + len(mask), 100 + left : 100 + left + mask.shape[1]] = mask
    expected = encode(far[100 : 100 + height, 100 : 100 + width])
    found = place(encode(mask), left, top, (height, width))
    assert found == {"size": [height, width], "counts": expected["counts"].decode()}


@given(masks(), st.floats(1, 5), st.floats(1, 5))
def test_enlarged(mask, horizontal, vertical):
    """A new pixel is the mask's at its centre."""
    height, width = round(mask.shape[0] * vertical), round(mask.shape[1] * horizontal)
    scale = (width / mask.shape[1], height / mask.shape[0])
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    exact = np.abs((np.arange(height) + 0.5) * mask.shape[0] / height % 1 - 0.5).max() < 0.4999
    exact &= np.abs((np.arange(width) + 0.5) * mask.shape[1] / width % 1 - 0.5).max() < 0.4999
    found = mask_api.decode(place(encode(mask), 0, 0, (height, width), scale))
    if exact:  # elsewhere a centre lies on an edge between two pixels
        np.testing.assert_array_equal(found, mask[rows][:, columns])
    assert found.shape == (height, width)


@pytest.mark.parametrize("size", [(12_000, 12_000), (3, 40_000)])
def test_a_small_mask_in_a_large_image(size):
    mask = np.ones((3, 5), bool)
    found = place(encode(mask), size[1] - 5, size[0] - 3, size)
    assert mask_api.area(found) == 15
    assert mask_api.toBbox(found).tolist() == [size[1] - 5, size[0] - 3, 5, 3]
