"""Tiles of images with a known truth: each object once, whole, whatever the tiles cut."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from convnext_dense.errors import UserError
from convnext_dense.inference.instances import Instances, concatenate
from convnext_dense.inference.merging import WHOLE_VIEW, Parts, suppress
from convnext_dense.inference.tiles import LEAST_SHARED, cut, detect_in_tiles, tile_starts
from tests.inference.oracle import encode, objects, scenes
from tests.running import ROOT

tiles = st.integers(32, 70)
overlaps = st.floats(0, 0.75)


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
        for label, box, mask in zip(found.labels, found.boxes.tolist(), found.masks, strict=True)
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
    views = [objects(scene[top:bottom, left:right]).scores for left, top, right, bottom in regions]
    if len(found):  # a view that a better tile replaced has no say
        assert found.scores[0] <= max(score for scores in views for score in scores)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), tiles, overlaps)
def test_boxes_alone(seed, tile, overlap):
    """Rectangles that are apart, of any size; without masks their boxes are joined."""
    rng = np.random.default_rng(seed)
    scene = np.zeros(rng.integers(100, 200, 2), int)
    for number in range(1, 20):
        top, left = (int(rng.integers(0, side - 4)) for side in scene.shape)
        height, width = rng.integers(4, 120, 2)
        around = scene[max(top - 3, 0) : top + height + 3, max(left - 3, 0) : left + width + 3]
        if not around.any():
            scene[top : top + height, left : left + width] = number

    def predict(images):
        return [objects(image, masks=False) for image in images]

    found, truth = detect_in_tiles(predict, scene, tile, overlap), objects(scene, masks=False)
    assert found.masks is None
    assert sorted(found.boxes.tolist()) == sorted(truth.boxes.tolist())


def noisy(found, shape, rng):
    """Edges of boxes off by a pixel, masks with frayed edges, scores that vary; no slivers."""
    found = found.select((found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1) > 5)
    boxes = found.boxes + rng.normal(0, 1, found.boxes.shape)
    boxes = np.clip(boxes, 0, (shape[1], shape[0]) * 2).astype(np.float32)
    masks = []
    for rle in found.masks:
        mask = mask_api.decode(rle).astype(np.uint8)
        kernel = np.ones((2, 2), np.uint8)
        mask = (cv2.erode if rng.random() < 0.5 else cv2.dilate)(mask, kernel)
        masks.append(encode(mask & (rng.random(mask.shape) < 0.97)))
    return Instances(boxes, rng.random(len(found)).astype(np.float32), found.labels, masks)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
def test_views_that_differ_are_one_object(seed, overlap):
    """No doubles along seams where the views of an object agree in part only."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((400, 500), int)
    for number in range(1, 30):
        height, width = rng.integers(20, 200, 2)
        top, left = rng.integers(0, 400 - height), rng.integers(0, 500 - width)
        spot = scene[top : top + height, left : left + width]
        if not spot.any():
            spot[:] = number

    def predict(images):
        return [noisy(objects(image), image.shape, rng) for image in images]

    found, truth = detect_in_tiles(predict, scene, 128, overlap), objects(scene)
    assert len(found) == len(truth)
    ious = mask_api.iou(found.masks, truth.masks, [0] * len(truth))
    assert (ious.max(axis=0) > 0.8).all() and (ious.max(axis=1) > 0.8).all()


def test_side_by_side_in_a_seam():
    """A poor detection that covers both of two cut objects does not make one of them."""
    scene = np.zeros((100, 200), int)
    scene[20:45, 40:160], scene[50:75, 40:160] = 2, 4  # both of class 0, longer than a tile's share
    both = objects((scene > 0) * 2)

    def predict(images):
        results = [objects(image) for image in images]
        for image, found in zip(images, results, strict=True):
            poor = objects((image > 0) * 2)
            poor = Instances(
                poor.boxes, poor.scores * 0 + np.float32(0.01), poor.labels, poor.masks
            )
            results[results.index(found)] = concatenate([found, poor])
        return results

    found = detect_in_tiles(predict, scene, 100, 0.2).select(np.arange(2))
    assert as_set(found) == as_set(objects(scene)) and len(both) == 1


def test_what_is_larger_than_a_tile_on_request():
    """A view of the whole image finds what the tiles show no part of that a model would know."""
    scene = np.zeros((400, 600), np.float32)
    scene[50:350, 100:500] = 2
    scene[10:30, 10:40] = 1  # too small for the shrunk view of this model

    def predict(images):  # knows objects that it sees whole
        results = []
        for image in images:
            is_tile = image.shape == (100, 100)
            found = objects(image.astype(int) if is_tile else np.where(image > 1, 2, 0))
            edges = np.array([image.shape[1], image.shape[0]])
            inside = (found.boxes[:, :2] > 0).all(axis=1) & (found.boxes[:, 2:] < edges).all(axis=1)
            results.append(found.select(inside))
        return results

    assert detect_in_tiles(predict, scene, 100).labels.tolist() == [1]
    found = detect_in_tiles(predict, scene, 100, whole=True)
    assert sorted(found.labels.tolist()) == [0, 1]
    large = found.select(found.labels == 0).masks
    assert mask_api.iou(large, [encode(scene == 2)], [0])[0, 0] > 0.97
    assert large[0]["size"] == [400, 600]


def test_one_tile_is_the_image():
    """As predicted: neither order nor scores nor a second detection of an object is touched."""
    scene = np.zeros((60, 50), int)
    scene[3:40, 4:30] = 1
    twice = concatenate([objects(scene)] * 2)
    assert detect_in_tiles(lambda images: [twice], scene, 60) is twice


def test_nothing_found():
    scene = np.zeros((300, 300), int)
    found = detect_in_tiles(lambda images: list(map(objects, images)), scene, 100, whole=False)
    assert len(found) == 0 and found.masks == []


@pytest.mark.parametrize(
    ("tile", "overlap", "said"),
    [(16, 0.2, "at least 32 pixels"), (64.0, 0.2, "at least 32"), (64, 1, "from 0 to 0.75; got 1")],
)
def test_tiles_that_cannot_be_used(tile, overlap, said):
    with pytest.raises(UserError, match=said):
        detect_in_tiles(lambda images: [], np.zeros((100, 100)), tile, overlap)


def test_a_part_with_a_wrong_class_is_left_to_the_tile_that_sees_all():
    """The end of a thing looks like another thing."""
    scene = np.zeros((100, 250), int)
    scene[20:40, 80:120] = 2  # in the second tile whole, in the first one its left part

    def predict(images):
        found = [objects(image) for image in images]
        areas = [[mask_api.area(mask) for mask in some.masks] for some in found]
        return [
            Instances(
                some.boxes, some.scores, np.array([int(area < 800) for area in of]), some.masks
            )
            for some, of in zip(found, areas, strict=True)
        ]

    assert as_set(detect_in_tiles(predict, scene, 100, 0.5)) == as_set(objects(scene))


def test_two_classes_at_one_place_stay_two():
    scene = np.zeros((100, 300), int)
    scene[20:60, 20:280] = 1

    seen = []

    def predict(images):  # one image at a time; the order of the classes varies
        found = objects(images[0])
        other = Instances(found.boxes, found.scores / 2, 1 - found.labels, found.masks)
        seen.append(found)
        return [concatenate([found, other][:: 1 if len(seen) % 2 else -1])]

    found, (truth,) = detect_in_tiles(predict, scene, 100), objects(scene).masks
    assert sorted(found.labels.tolist()) == [0, 1]
    assert [mask["counts"] for mask in found.masks] == [truth["counts"]] * 2


@pytest.mark.slow
def test_memory_of_a_large_image():
    """Of 12,000 x 12,000 pixels with 1000 objects; a bitmap for each would be 144 GB."""
    words = [sys.executable, "-m", "tests.inference.large_image", "1000"]
    out = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    placed, found, more = map(int, re.match(r"(\d+) objects, (\d+) found.* (\d+) MB", out).groups())
    assert placed == found > 900 and more < 150


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(("cut", "left"), [(True, 1), (False, 2)])
def test_a_part_belongs_to_what_covers_it(masks, cut, left):
    """A third of an object is its part where a tile cuts it, and otherwise another object."""
    scene = np.zeros((2, 10, 90), int)
    scene[0], scene[1, :, :30] = 1, 1
    found = concatenate([objects(one, masks) for one in scene])
    parts = Parts(found, np.array([WHOLE_VIEW, 0]), np.array([False, cut]))
    assert len(suppress(parts)) == left
