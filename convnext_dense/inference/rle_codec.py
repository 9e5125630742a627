"""COCO's run-length encoding of masks, in numpy: the bytes and numbers of pycocotools without it.

The encoding counts the pixels of a mask column by column, as alternating runs of zeros and ones,
zeros first. The counts are written as text: each as groups of five bits, the lowest first, and from
the fourth on as its difference from the last but one (pycocotools, ``rleToString``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

BITS = 5  # of a character; the uppermost of the last one is the sign
SIGN, MORE, ZERO = 16, 32, ord("0")  # MORE: another character of this number follows
LARGEST = 1 << np.arange(BITS - 1, 62, BITS)  # first numbers that need one character more


@dataclass(frozen=True, eq=False)
class Runs:
    """A mask as its runs of ones, in pixels counted column by column.

    Attributes:
        starts: int64 (n,), the first pixels, ascending.
        stops: int64 (n,), the first pixels after them; a run may touch the next one.
        size: (height, width).
    """

    starts: np.ndarray
    stops: np.ndarray
    size: tuple[int, int]

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int((self.stops - self.starts).sum())

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, the last two outside of it; zeros of an empty mask."""
        if not len(self.starts):
            return 0, 0, 0, 0
        height, last = self.size[0], self.stops - 1
        left, right = int(self.starts[0]) // height, int(last[-1]) // height + 1
        first_rows, last_rows = self.starts % height, last % height
        if (self.starts // height != last // height).any():  # a run goes on in the next column
            return left, 0, right, height
        return left, int(first_rows.min()), right, int(last_rows.max()) + 1


def encode(mask: np.ndarray) -> dict:
    """COCO's encoding of a mask, bool or uint8 (height, width), with text counts."""
    return to_rle(runs_of_mask(mask))


def decode(rle: dict) -> np.ndarray:
    """The mask of COCO's encoding, bool (height, width); ``counts`` is str or bytes."""
    lengths = run_lengths(rle)
    height, width = rle["size"]
    ones = np.arange(len(lengths)) % 2 == 1
    return np.repeat(ones, lengths).reshape(width, height).T


def runs_of_mask(mask: np.ndarray) -> Runs:
    """The runs of a mask, bool or uint8 (height, width)."""
    mask = mask.astype(bool, copy=False).view(np.uint8)
    if not mask.size:
        return Runs(*np.zeros((2, 0), np.int64), mask.shape)
    # OpenCV transposes in blocks, ten times as fast as numpy.
    columns = mask.T if mask.flags.f_contiguous else cv2.transpose(np.ascontiguousarray(mask))
    pixels = columns.ravel()
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges = np.concatenate([[0][: pixels[0]], edges, [pixels.size][: pixels[-1]]]).astype(np.int64)
    return Runs(edges[::2], edges[1::2], mask.shape)


def runs_of_rle(rle: dict) -> Runs:
    """The runs of COCO's encoding."""
    edges = np.cumsum(run_lengths(rle))
    stops = edges[1::2]
    starts = edges[::2][: len(stops)]
    some = stops > starts
    return Runs(starts[some], stops[some], tuple(rle["size"]))


def to_rle(runs: Runs) -> dict:
    """COCO's encoding of runs, with text counts."""
    edges = np.stack([runs.starts, runs.stops], axis=1).ravel()
    touching = 2 * np.flatnonzero(runs.starts[1:] == runs.stops[:-1]) + 1
    if len(touching):
        edges = np.delete(edges, [touching, touching + 1])
    lengths = np.diff(edges, prepend=0, append=runs.size[0] * runs.size[1])
    if len(lengths) > 1 and lengths[-1] == 0:
        lengths = lengths[:-1]
    return {"size": list(runs.size), "counts": to_text(lengths)}


def run_lengths(rle: dict) -> np.ndarray:
    """Lengths of the runs of zeros and ones in turn, zeros first, int64."""
    text = rle["counts"]
    digits = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)
    digits = digits.astype(np.int64) - ZERO
    ends = np.flatnonzero(digits & MORE == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((digits & MORE - 1) << (BITS * places), starts)
    numbers -= (digits[ends] & SIGN) << (BITS * places[ends] + 1)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def to_text(lengths: np.ndarray) -> str:
    """The text of run lengths, int64 (n,)."""
    numbers = lengths.copy()
    numbers[3:] -= lengths[1:-2]
    counts = np.searchsorted(LARGEST, np.where(numbers < 0, ~numbers, numbers), side="right") + 1
    ends = np.cumsum(counts)
    places = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    digits = np.repeat(numbers, counts) >> (BITS * places) & MORE - 1 | MORE
    digits[ends - 1] &= ~MORE
    return (digits + ZERO).astype(np.uint8).tobytes().decode()


def union(masks: Sequence[Runs]) -> Runs:
    """The pixels of any of several masks of one size."""
    starts = np.concatenate([mask.starts for mask in masks])
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    reached = np.maximum.accumulate(np.concatenate([mask.stops for mask in masks])[order])
    is_first = np.append(True, starts[1:] > reached[:-1])[: len(starts)]
    is_last = np.append(is_first[1:], True)[: len(starts)]
    return Runs(starts[is_first], reached[is_last], masks[0].size)


def overlaps(ones: Sequence[Runs], others: Sequence[Runs], as_share: bool = False) -> np.ndarray:
    """IoU of masks of one size, float64 (ones, others).

    Args:
        ones, others: Masks.
        as_share: Give the share of each of ``ones`` that the other one covers instead.
    """
    found = np.zeros((len(ones), len(others)))
    if not len(others):
        return found
    pixels = others[0].size[0] * others[0].size[1]
    row_of_masks = _SideBySide(others, pixels)
    areas = np.array([other.area for other in others])
    boxes = np.array([other.box for other in others])
    for row, one in enumerate(ones):
        left, top, right, bottom = one.box
        near = (boxes[:, 0] < right) & (boxes[:, 2] > left)
        (near,) = np.nonzero(near & (boxes[:, 1] < bottom) & (boxes[:, 3] > top))
        if len(near):
            places = near[:, None] * pixels
            shared = row_of_masks.ones_before(one.stops + places)
            shared = (shared - row_of_masks.ones_before(one.starts + places)).sum(axis=1)
            whole = one.area if as_share else one.area + areas[near] - shared
            found[row, near] = shared / whole
    return found


class _SideBySide:
    """Masks of one size as one long mask."""

    def __init__(self, masks: Sequence[Runs], pixels: int) -> None:
        places = np.repeat(np.arange(len(masks)) * pixels, [len(mask.starts) for mask in masks])
        self.starts = np.concatenate([mask.starts for mask in masks]) + places
        self.stops = np.concatenate([mask.stops for mask in masks]) + places
        self.before = np.append(0, np.cumsum(self.stops - self.starts))

    def ones_before(self, pixels: np.ndarray) -> np.ndarray:
        """How many ones precede each pixel."""
        begun = np.searchsorted(self.starts, pixels)  # 0 looks at the last run, which is far on
        inside = np.where(begun > 0, self.stops[begun - 1] - pixels, 0)
        return self.before[begun] - np.maximum(inside, 0)
