"""Scores of tiles are averaged as if all of them had been added at full size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from convnext_dense.errors import UserError
from convnext_dense.inference.merging import Region
from convnext_dense.inference.tiled_labels import enlarge, segment_in_tiles
from convnext_dense.inference.tiles import cut, shrink


def scores_of(image: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities that depend on the pixel and on where in the tile it lies."""
    height, width = image.shape
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(image * (k + 1) + rows / 7 + columns / (k + 5)) for k in range(classes)]
    weights = np.exp(np.stack(waves))
    if classes == 1:
        return (weights / np.e).astype(np.float32)
    return (weights / weights.sum(axis=0)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 130), st.integers(1, 130), st.integers(32, 60), st.floats(0, 0.75),
    st.integers(1, 4), st.integers(1, 3), st.booleans(),
)  # fmt: skip
def test_the_mean_of_all_tiles(height, width, tile, overlap, classes, batch_size, whole):
    image = np.random.default_rng(height).random((height, width)).astype(np.float32)
    total, count = np.zeros((classes, height, width)), np.zeros((height, width))
    for left, top, right, bottom in cut((height, width), tile, overlap):
        total[:, top:bottom, left:right] += scores_of(image[top:bottom, left:right], classes)
        count[top:bottom, left:right] += 1
    if whole:
        view = torch.from_numpy(scores_of(shrink(image, 2 * tile), classes))[None]
        total += interpolate(view, size=(height, width), mode="bilinear")[0].numpy()
        count += 1
    labels, scores = segment_in_tiles(
        lambda images: [scores_of(one, classes) for one in images],
        image, tile, overlap, whole, batch_size, threshold=0.4, keep_scores=True,
    )  # fmt: skip
    np.testing.assert_allclose(scores, total / count, atol=2e-5)
    expected = scores[0] > 0.4 if classes == 1 else scores.argmax(axis=0)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint8 and scores.dtype == np.float32


def test_scores_only_on_request_and_never_of_the_whole():
    """Peak memory of 40 classes: far below the scores of the image, and not below its strip."""
    import tracemalloc

    image, tile, classes = np.zeros((1200, 400), np.float32), 64, 40
    tracemalloc.start()
    labels, scores = segment_in_tiles(
        lambda images: [np.ones((classes, *one.shape), np.float32) for one in images], image, tile
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores is None and labels.shape == image.shape
    all_scores = classes * image.size * 4
    assert peak < all_scores / 15


def test_many_classes():
    last = np.eye(300, dtype=np.float32)[299][:, None, None]
    labels, _ = segment_in_tiles(
        lambda images: [last * np.ones(image.shape) for image in images], np.zeros((40, 70)), 32
    )
    assert labels.dtype == np.uint16 and (labels == 299).all()


def test_a_part_of_enlarged_maps_is_that_of_all():
    maps = np.random.default_rng(0).random((3, 9, 11)).astype(np.float32)
    size = (100, 77)
    all_maps = interpolate(torch.from_numpy(maps)[None], size, mode="bilinear")[0]
    region = Region(13, 40, 70, 99)
    found = enlarge(maps, region, size)
    np.testing.assert_allclose(found, all_maps[:, 40:99, 13:70].numpy(), atol=1e-6)


@pytest.mark.parametrize(("tile", "overlap"), [(31, 0.2), (True, 0.2), (64, 0.95), (64, -0.1)])
def test_tiles_that_cannot_be_used(tile, overlap):
    with pytest.raises(UserError, match="overlap of tiles|at least 32 pixels"):
        segment_in_tiles(lambda images: images, np.zeros((9, 9)), tile, overlap)
