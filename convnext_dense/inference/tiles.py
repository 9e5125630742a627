"""An image in tiles: the model sees each at full size, and the results are the image's.

The functions know no model: ``predict`` is any function from images to results. Memory depends on
the tile, the number of objects and, for labels, the width of the image; of the whole image there is
never more than its labels.
"""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from convnext_dense.errors import UserError
from convnext_dense.inference.instances import Instances, concatenate
from convnext_dense.inference.merging import WHOLE_VIEW, Region, merge
from convnext_dense.inference.runs_of_masks import place

SMALLEST_TILE = 32  # pixels: a network's last feature map has one for so many
LARGEST_OVERLAP = 0.75
LEAST_SHARED = 4  # pixels: by what tiles share, parts of one object are recognised
MARGIN = 0.04  # of a tile: a box this near to an edge counts as cut; regression is not exact
WHOLE_SIDE = 2  # tiles: the longer side of the view of the whole image


def check_tiles(tile: int, overlap: float) -> None:
    """Refuses tiles that cannot be used.

    Raises:
        UserError: In one sentence.
    """
    if isinstance(tile, bool) or not isinstance(tile, int) or tile < SMALLEST_TILE:
        raise UserError(f"A tile must have at least {SMALLEST_TILE} pixels a side, got {tile}.")
    if not 0 <= overlap <= LARGEST_OVERLAP:
        raise UserError(
            f"The overlap of tiles is the share of a tile's side that it has in common with the "
            f"next one, from 0 to {LARGEST_OVERLAP}; got {overlap}."
        )


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin on a side of ``length`` pixels, at equal distances.

    The last one ends at the border. Neighbours share ``overlap`` of a tile or more, and never less
    than :data:`LEAST_SHARED` pixels.
    """
    stride = tile - max(round(tile * overlap), LEAST_SHARED)
    free = max(0, length - tile)
    gaps = -(-free // stride)
    return [free * number // gaps for number in range(gaps + 1)] if gaps else [0]


def cut(size: tuple[int, int], tile: int, overlap: float) -> list[Region]:
    """The tiles of an image of ``size`` (height, width), row by row; all of one size.

    On a side that is shorter than ``tile`` they have the image's length.
    """
    check_tiles(tile, overlap)
    height, width = size
    return [
        Region(left, top, min(left + tile, width), min(top + tile, height))
        for top in tile_starts(height, tile, overlap)
        for left in tile_starts(width, tile, overlap)
    ]


def detect_in_tiles(
    predict: Callable[[list[np.ndarray]], Sequence[Instances]],
    image: np.ndarray,
    tile: int,
    overlap: float = 0.2,
    whole: bool = False,
    batch_size: int = 1,
) -> Instances:
    """Detections of an image from its tiles, each object once (:mod:`.merging` says how).

    Args:
        predict: The detections of images of a tile's size or less.
        image: (height, width) or (height, width, channels).
        tile: Side of a tile in pixels.
        overlap: Share of a tile's side that neighbours have in common, at least.
        whole: Also look at the whole image, shrunk to :data:`WHOLE_SIDE` tiles, for objects that
            are larger than a tile.
        batch_size: Tiles that are predicted together.

    Returns:
        The detections in pixels of the image, best score first. Where the image is one tile, those
        of ``predict`` as they are.

    Raises:
        UserError: For a tile or an overlap that cannot be used.
    """
    size = image.shape[:2]
    regions = cut(size, tile, overlap)
    if len(regions) == 1:
        return predict([image])[0]
    found, tiles = [], []
    for number, result in enumerate(predictions(predict, image, regions, batch_size)):
        found.append(_move(result, regions[number], size))
        tiles.append(np.full(len(result), number))
    if whole:
        small = shrink(image, WHOLE_SIDE * tile)
        found.append(_enlarge(predict([small])[0], small.shape[:2], size))
        tiles.append(np.full(len(found[-1]), WHOLE_VIEW))
    shared = min(_shared(tile_starts(side, tile, overlap), tile) for side in size)
    margin = min(max(1.0, MARGIN * tile), shared / 4)
    return merge(concatenate(found), np.concatenate(tiles), regions, size, margin)


def _shared(starts: list[int], tile: int) -> float:
    """The least that neighbours share; without a neighbour there is no bound."""
    return tile - max(np.diff(starts)) if len(starts) > 1 else np.inf


def predictions(
    predict: Callable[[list[np.ndarray]], Sequence],
    image: np.ndarray,
    regions: Sequence[Region],
    batch_size: int,
) -> Iterator:
    """The results of all tiles in order; a batch of them exists at a time."""
    for first in range(0, len(regions), batch_size):
        batch = regions[first : first + batch_size]
        yield from predict(
            [image[region.top : region.bottom, region.left : region.right] for region in batch]
        )


def _move(found: Instances, region: Region, size: tuple[int, int]) -> Instances:
    """A tile's detections in pixels of the image."""
    left, top = region.left, region.top
    boxes = found.boxes + np.array([left, top, left, top], np.float32)
    masks = found.masks
    if masks is not None:
        masks = [place(mask, left, top, size) for mask in masks]
    return Instances(boxes, found.scores, found.labels, masks)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """The image with a longer side of ``side`` pixels; unchanged where it has no more."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _enlarge(found: Instances, small: tuple[int, int], size: tuple[int, int]) -> Instances:
    """The detections of a shrunk image in pixels of the image."""
    scale = (size[1] / small[1], size[0] / small[0])
    masks = found.masks
    if masks is not None:
        masks = [place(mask, 0, 0, size, scale) for mask in masks]
    boxes = found.boxes * np.array(2 * scale, np.float32)
    return Instances(boxes, found.scores, found.labels, masks)
