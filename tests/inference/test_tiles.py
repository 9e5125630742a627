"""Tiles of images with a known truth: each object once, whole, whatever the tiles cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from convnext_dense.errors import UserError
from convnext_dense.inference.tiles import LEAST_SHARED, cut, detect_in_tiles, tile_starts
from tests.inference.oracle import objects, scenes

tiles = st.integers(32, 70)
overlaps = st.floats(0, 0.9)


@given(st.integers(1, 5000), st.integers(32, 900), overlaps)
def test_tiles_cover_a_side_and_share_enough(length, tile, overlap):
    starts = tile_starts(length, tile, overlap)
    shared = max(round(tile * overlap), LEAST_SHARED)
    assert starts[0] == 0 and starts[-1] + min(tile, length) == length
    assert all(0 < gap <= tile - shared for gap in np.diff(starts))
    # no more of them than are needed
    assert len(starts) == 1 or (len(starts) - 2) * (tile - shared) + tile < length


def as_set(found) -> set:
    return {
        (int(label), tuple(box), mask["counts"])
        for label, box, mask in zip(found.labels, found.boxes.tolist(), found.masks)
    }


@settings(max_examples=100, deadline=None)
@given(scenes(), tiles, overlaps, st.integers(1, 5))
def test_each_object_once_and_whole(scene, tile, overlap, batch_size):
    """Objects smaller and larger than tiles, touching tiles' edges and each other."""
    sides = tuple(min(tile, side) for side in scene.shape)

    def predict(images):
        assert len(images) <= batch_size and {image.shape for image in images} == {sides}
        return [objects(image) for image in images]

    found = detect_in_tiles(predict, scene, tile, overlap, batch_size=batch_size)
    truth = objects(scene)
    assert len(found) == len(truth)
    assert as_set(found) == as_set(truth)


@settings(max_examples=30, deadline=None)
@given(scenes(), tiles, overlaps)
def test_an_object_has_its_best_score(scene, tile, overlap):
    found = detect_in_tiles(lambda images: list(map(objects, images)), scene, tile, overlap)
    regions = cut(scene.shape, tile, overlap)
    if len(regions) == 1:  # as predicted
        np.testing.assert_array_equal(found.scores, objects(scene).scores)
        return
    assert (np.diff(found.scores) <= 0).all()
    views = [objects(scene[t:b, l:r]).scores for l, t, r, b in regions]
    if len(found):  # a view that a better tile replaced has no say
        assert found.scores[0] <= max(score for scores in views for score in scores)
