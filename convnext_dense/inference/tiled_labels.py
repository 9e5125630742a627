"""A label for each pixel of a large image, from the mean scores of overlapping tiles.

Scores of all classes exist for one tile, for what it shares with the tile to its right, and for
what a row of tiles shares with the next row: with 150 classes, tiles of 512 pixels and an overlap
of a fifth, 60 KB for each pixel of the image's width. A pixel is labelled once its last tile is
there.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from convnext_dense.inference.merging import Region
from convnext_dense.inference.tiles import WHOLE_SIDE, cut, predictions, shrink, tile_starts

Predict = Callable[[list[np.ndarray]], Sequence[np.ndarray]]


def segment_in_tiles(
    predict_scores: Predict,
    image: np.ndarray,
    tile: int,
    overlap: float = 0.2,
    whole: bool = False,
    batch_size: int = 1,
    threshold: float = 0.5,
    keep_scores: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels of an image from its tiles.

    Args:
        predict_scores: The probabilities (classes, height, width) of images of a tile's size or
            less; of a single class where the model has one channel for two classes.
        image: (height, width) or (height, width, channels).
        tile: Side of a tile in pixels.
        overlap: Share of a tile's side that neighbours have in common, at least.
        whole: Also look at the whole image, shrunk to two tiles. It counts as one more tile.
        batch_size: Tiles that are predicted together.
        threshold: Where there is one channel: the label is 1 where its mean exceeds this.
        keep_scores: Also return the mean scores. They need a float32 for each class and pixel.

    Returns:
        Labels (height, width), uint8 or, with more than 256 classes, uint16; and the mean scores
        (classes, height, width), or None.

    Raises:
        UserError: For a tile or an overlap that cannot be used.
    """
    size = image.shape[:2]
    view = predict_scores([shrink(image, WHOLE_SIDE * tile)])[0] if whole else None
    labels, scores = None, None
    for region, mean, count in mean_scores(predict_scores, image, tile, overlap, batch_size):
        if view is not None:
            mean = (mean * count + enlarge(view, region, size)) / (count + 1)
        if labels is None:
            labels = np.empty(size, np.uint8 if len(mean) <= 256 else np.uint16)
            scores = np.empty((len(mean), *size), np.float32) if keep_scores else None
        area = slice(region.top, region.bottom), slice(region.left, region.right)
        labels[area] = mean[0] > threshold if len(mean) == 1 else mean.argmax(axis=0)
        if scores is not None:
            scores[(slice(None), *area)] = mean
    return labels, scores


def mean_scores(
    predict_scores: Predict, image: np.ndarray, tile: int, overlap: float, batch_size: int = 1
) -> Iterator[tuple[Region, np.ndarray, np.ndarray]]:
    """Yields each part of an image, as soon as it is known, with its mean scores.

    Yields:
        The part; its scores (classes, rows, columns); the number of tiles that show each of its
        pixels (rows, columns). The parts cover the image once.
    """
    height, width = image.shape[:2]
    tops, lefts = (tile_starts(side, tile, overlap) for side in (height, width))
    in_rows, in_columns = (
        _tiles_at_each(starts, tile, side) for starts, side in ((tops, height), (lefts, width))
    )
    results = predictions(predict_scores, image, cut((height, width), tile, overlap), batch_size)
    above = None  # of what this row of tiles shares with earlier ones, their sum
    for top, next_top in pairwise([*tops, height]):
        below, beside = None, None  # the same for the next row, and for the next tile
        for left, next_left in pairwise([*lefts, width]):
            total = np.array(next(results), np.float32)  # a copy: it is added to
            if below is None:
                below = np.empty((len(total), total.shape[1] - (next_top - top), width), np.float32)
            if beside is not None:
                total[:, :, : beside.shape[2]] += beside
            total, beside = np.split(total, [next_left - left], axis=2)
            if above is not None:
                total[:, : above.shape[1]] += above[:, :, left:next_left]
            total, below[:, :, left:next_left] = np.split(total, [next_top - top], axis=1)
            count = np.outer(in_rows[top:next_top], in_columns[left:next_left])
            yield Region(left, top, next_left, next_top), total / count, count
        above = below


def _tiles_at_each(starts: list[int], tile: int, length: int) -> np.ndarray:
    """How many tiles of a row or a column show each pixel, float32 (length,)."""
    counts = np.zeros(length, np.float32)
    for start in starts:
        counts[start : start + tile] += 1
    return counts


def enlarge(maps: np.ndarray, region: Region, size: tuple[int, int]) -> np.ndarray:
    """A part of an image's maps (classes, rows, columns) from smaller ones, bilinear.

    Args:
        maps: (classes, h, w), of the whole image.
        region: The part, in pixels of the image.
        size: (height, width) of the image.
    """
    for axis, start, stop in ((1, region.top, region.bottom), (2, region.left, region.right)):
        length = maps.shape[axis]
        place = (np.arange(start, stop) + 0.5) * length / size[axis - 1] - 0.5
        place = np.clip(place, 0, length - 1)
        low = place.astype(int)
        share = (place - low).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
        high = np.minimum(low + 1, length - 1)
        maps = maps.take(low, axis) * (1 - share) + maps.take(high, axis) * share
    return maps
