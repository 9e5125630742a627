"""The detections of overlapping tiles as detections of one image.

Three steps, each for what the one before it left:

1. A detection that its tile cuts is left to a tile that sees all of it and beyond the cut.
2. Of objects that no tile sees whole, the parts are joined: parts of one class that agree in the
   strip that their tiles share.
3. What is still there twice, seen by several tiles, stays once: NMS of each class.

The tiles share a strip, so a neighbour shows the same pixels there: two views of one object agree
in it, however little of the object each shows beside it. Detections of one tile are never compared
with each other: the model's own NMS has judged them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convnext_dense.inference.instances import Instances, concatenate
from convnext_dense.inference.rle_codec import Runs, overlaps, runs_of_rle, to_rle, union
from convnext_dense.inference.runs_of_masks import moved

SAME_OBJECT = 0.5  # IoU of two views of an object; share of a part that the whole object covers
Shapes = np.ndarray | list[Runs]  # boxes (n, 4), or masks
JOINED = -2  # the tile of an object that was joined
WHOLE_VIEW = -1  # the tile of what the view of the whole image shows


class Region(NamedTuple):
    """A rectangle of an image in pixels; right and bottom are the first pixels outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    def shared(self, other: "Region") -> "Region":
        """What both cover, if they overlap."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Region(left, top, min(self.right, other.right), min(self.bottom, other.bottom))


@dataclass(frozen=True)
class Parts:
    """Detections in pixels of the image, and the tile of each.

    Attributes:
        found: The detections.
        tiles: (n,) indices of tiles, :data:`WHOLE_VIEW` or :data:`JOINED`.
        cut: (n,) bool: the tile's edge may cut off the rest of the object.
    """

    found: Instances
    tiles: np.ndarray
    cut: np.ndarray

    def select(self, chosen: np.ndarray) -> "Parts":
        """Those that an array of bools or indices names."""
        return Parts(self.found.select(chosen), self.tiles[chosen], self.cut[chosen])


def merge(
    found: Instances, tiles: np.ndarray, regions: list[Region], size: tuple[int, int], margin: float
) -> Instances:
    """The detections of an image, each object once, best score first.

    Args:
        found: The detections of all tiles in pixels of the image, masks in the image's size.
        tiles: (n,) index into ``regions`` of each, or :data:`WHOLE_VIEW`.
        regions: The tiles; those beside each other overlap.
        size: (height, width) of the image.
        margin: A box that comes this near to an edge inside of the image counts as cut by it.

    Returns:
        An object's box and mask are those of the view that shows it whole, or the union of its
        parts; its score is the best of its views.
    """
    parts = join_cut(leave_to_better_tiles(found, tiles, regions, size, margin), regions)
    return suppress(parts)


def leave_to_better_tiles(
    found: Instances, tiles: np.ndarray, regions: list[Region], size: tuple[int, int], margin: float
) -> Parts:
    """Drops each detection that its tile cuts where another tile shows all of it, and more."""
    inner = np.array([_inner(region, size, margin) for region in regions])
    boxes = found.boxes
    whole_in_own, whole_in_any = np.zeros((2, len(found)), bool)
    for tile, (left, top, right, bottom) in enumerate(inner):
        inside = (boxes[:, 0] >= left) & (boxes[:, 1] >= top)
        inside &= (boxes[:, 2] <= right) & (boxes[:, 3] <= bottom)
        whole_in_any |= inside
        whole_in_own |= inside & (tiles == tile)
    cut = ~whole_in_own & (tiles != WHOLE_VIEW)
    return Parts(found, tiles, cut).select(~(cut & whole_in_any))


def _inner(region: Region, size: tuple[int, int], margin: float) -> tuple[float, ...]:
    """The region without a margin at its edges inside of the image."""
    height, width = size
    return (
        region.left + margin if region.left > 0 else -np.inf,
        region.top + margin if region.top > 0 else -np.inf,
        region.right - margin if region.right < width else np.inf,
        region.bottom - margin if region.bottom < height else np.inf,
    )


def join_cut(parts: Parts, regions: list[Region]) -> Parts:
    """Joins the parts of each object that no tile shows whole."""
    groups = np.arange(len(parts.found))  # the group of a part is named by one of them
    busy = np.unique(parts.tiles[parts.cut]).tolist()
    cut_by = {tile: np.flatnonzero((parts.tiles == tile) & parts.cut) for tile in busy}
    areas = np.array([regions[tile] for tile in busy], float).reshape(-1, 4)
    for number, one in enumerate(busy):
        for near in np.flatnonzero(_touch(areas[number + 1 :], regions[one])):
            other = busy[number + 1 + near]
            strip = regions[one].shared(regions[other])
            for i, j in matches(parts.found, cut_by[one], cut_by[other], strip):
                groups[groups == groups[j]] = groups[i]
    names, counts = np.unique(groups, return_counts=True)
    alone = np.isin(groups, names[counts == 1])
    joined = [_union(parts.found.select(groups == name)) for name in names[counts > 1]]
    found = concatenate([parts.found.select(alone), *joined])
    tiles = np.append(parts.tiles[alone], np.full(len(joined), JOINED))
    return Parts(found, tiles, np.append(parts.cut[alone], np.full(len(joined), True)))


def matches(
    found: Instances, ones: np.ndarray, others: np.ndarray, strip: Region
) -> list[tuple[int, int]]:
    """Pairs of parts of two tiles that show one object in the strip that both tiles share.

    Each part is matched at most once, the best pairs first: a poor detection that covers two
    objects side by side does not make one of them. How much of the smaller part in the strip the
    other one covers decides whether they belong together, since parts end where tiles do; of
    several that do, the one with the highest IoU is taken.

    Args:
        found: All detections.
        ones, others: Indices of the cut detections of each of the two tiles.
        strip: What both tiles cover.
    """
    ones, others = (rows[_touch(found.boxes[rows], strip)] for rows in (ones, others))
    if not len(ones) or not len(others):
        return []
    shapes = [_in_strip(found, rows, strip) for rows in (ones, others)]
    iou, of_one = (_overlaps(*shapes, as_share) for as_share in (False, True))
    of_other = _overlaps(*shapes[::-1], True).T
    agree = np.maximum(of_one, of_other) >= SAME_OBJECT
    agree &= found.labels[ones][:, None] == found.labels[others][None]
    pairs = []
    for index in np.argsort(-np.where(agree, iou, -1), axis=None, kind="stable"):
        i, j = divmod(int(index), len(others))
        if agree[i, j]:
            pairs.append((int(ones[i]), int(others[j])))
            agree[i], agree[:, j] = False, False
    return pairs


def _touch(boxes: np.ndarray, region: Region) -> np.ndarray:
    """Whether boxes (n, 4) and a region have an area in common."""
    left, top, right, bottom = region
    across = (boxes[:, 0] < right) & (boxes[:, 2] > left)
    return across & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)


def _in_strip(found: Instances, rows: np.ndarray, strip: Region) -> Shapes:
    """The masks, or else the boxes, of detections inside of a strip."""
    left, top, right, bottom = strip
    if found.masks is not None:
        size = (bottom - top, right - left)
        return [moved(runs_of_rle(found.masks[row]), -left, -top, size) for row in rows]
    low = np.maximum(found.boxes[rows, :2], (left, top))
    high = np.minimum(found.boxes[rows, 2:], (right, bottom))
    return np.concatenate([low, high], axis=1)


def _overlaps(ones: Shapes, others: Shapes, as_share: bool) -> np.ndarray:
    """IoU of shapes, (ones, others); or the share of each of ``ones`` that the other covers."""
    if isinstance(ones, list):
        return overlaps(ones, others, as_share)
    ones, others = ones.astype(float)[:, None], others.astype(float)[None]
    sides = np.minimum(ones[..., 2:], others[..., 2:]) - np.maximum(ones[..., :2], others[..., :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas, of_others = ((boxes[..., 2:] - boxes[..., :2]).prod(axis=2) for boxes in (ones, others))
    whole = areas if as_share else areas + of_others - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def _union(parts: Instances) -> Instances:
    """One object of all parts: united box and mask, the best score."""
    boxes = parts.boxes
    box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    masks = None
    if parts.masks is not None:
        masks = [to_rle(union([runs_of_rle(mask) for mask in parts.masks]))]
    return Instances(box[None], parts.scores.max(keepdims=True), parts.labels[:1], masks)


def suppress(parts: Parts) -> Instances:
    """Leaves one of several views of an object; it takes the best of their scores.

    Views that show an object whole come first, then those with the higher score. A view is
    another one's if their IoU is at least :data:`SAME_OBJECT`, or if so much of a part of an
    object is covered by the other.
    """
    order = np.lexsort((-parts.found.scores, parts.cut))
    parts = parts.select(order)
    scores, kept = parts.found.scores.copy(), np.zeros(len(order), bool)
    masks = parts.found.masks and [runs_of_rle(mask) for mask in parts.found.masks]
    for row in range(len(order)):
        rivals = np.flatnonzero(kept & _can_be_same(parts, row))
        same = rivals[_are_same(parts, masks, row, rivals)]
        if len(same):
            scores[same[0]] = max(scores[same[0]], scores[row])
        else:
            kept[row] = True
    found = parts.found
    found = Instances(found.boxes, scores, found.labels, found.masks).select(kept)
    return found.select(np.argsort(-found.scores, kind="stable"))


def _can_be_same(parts: Parts, row: int) -> np.ndarray:
    """Which detections have the class of one, another tile, and a box that overlaps its box."""
    found, tile = parts.found, parts.tiles[row]
    boxes, box = found.boxes[:row], found.boxes[row]
    near = (boxes[:, 0] < box[2]) & (boxes[:, 2] > box[0])
    near &= (boxes[:, 1] < box[3]) & (boxes[:, 3] > box[1])
    near &= found.labels[:row] == found.labels[row]
    near &= (parts.tiles[:row] != tile) | (tile == JOINED)
    return np.append(near, np.zeros(len(found) - row, bool))


def _are_same(parts: Parts, masks: list[Runs] | None, row: int, rivals: np.ndarray) -> np.ndarray:
    """Which of some detections show the object that one shows."""
    if masks is not None:
        one, others = [masks[row]], [masks[rival] for rival in rivals]
    else:
        one, others = parts.found.boxes[[row]], parts.found.boxes[rivals]
    same = _overlaps(one, others, False)[0] >= SAME_OBJECT
    if parts.cut[row] and not same.all():
        same |= _overlaps(one, others, True)[0] >= SAME_OBJECT
    return same
