"""Masks as runs of pixels: moved, cut and enlarged without a pixel being drawn.

COCO's run-length encoding counts the pixels of an image column by column, as alternating runs of
zeros and ones, and writes the counts as text: five bits a character, each count from the fourth on
as its difference from the last but one (pycocotools, ``rleToString``). pycocotools reads that text,
but gives its numbers to nobody.
"""

import numpy as np
from pycocotools import mask as mask_api


def run_lengths(rle: dict) -> np.ndarray:
    """Lengths of the runs of zeros and ones in turn, zeros first, int64.

    Args:
        rle: COCO's encoding of a mask; ``counts`` is str or bytes.
    """
    text = rle["counts"]
    digits = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8) - 48
    digits = digits.astype(np.int64)
    ends = np.flatnonzero(digits & 32 == 0)  # the sixth bit says that the number goes on
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((digits & 31) << (5 * places), starts)
    numbers -= (digits[ends] & 16) << (5 * places[ends] + 1)  # the sign
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def place(
    rle: dict, left: int, top: int, size: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)
) -> dict:
    """A mask in an image of another size; what lies outside of it is cut off.

    Args:
        rle: COCO's encoding of the mask.
        left, top: Where the mask's first pixel comes to lie, in pixels of the new image.
        size: (height, width) of the new image.
        scale: Enlargement (horizontal, vertical) before that; a new pixel takes the value of the
            mask at its centre.

    Returns:
        COCO's encoding, with text counts. Time and memory depend on the runs, not on the pixels.
    """
    columns, first, last = _columns(run_lengths(rle), rle["size"][0])
    edges = np.ceil(np.arange(rle["size"][1] + 1) * scale[0] - 0.5).astype(np.int64)
    copies = edges[columns + 1] - edges[columns]
    piece = np.repeat(np.arange(len(columns)), copies)
    columns = edges[columns[piece]] + _numbers_within(copies) + left
    first, last = (
        np.clip(np.ceil(rows[piece] * scale[1] - 0.5).astype(np.int64) + top, 0, size[0])
        for rows in (first, last)
    )
    inside = np.flatnonzero((columns >= 0) & (columns < size[1]) & (first < last))
    inside = inside[np.lexsort((first[inside], columns[inside]))]
    start = columns[inside] * size[0]
    return _encode(start + first[inside], start + last[inside], size)


def _columns(lengths: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The runs of ones, cut where a column ends: column, first row, row after the last."""
    ends = np.cumsum(lengths)
    stops = ends[1::2]
    starts = ends[::2][: len(stops)]
    some = stops > starts
    starts, stops = starts[some], stops[some] - 1  # the last pixel
    pieces = stops // height - starts // height + 1
    run = np.repeat(np.arange(len(pieces)), pieces)
    columns = starts[run] // height + _numbers_within(pieces)
    first = np.where(columns == starts[run] // height, starts[run] % height, 0)
    last = np.where(columns == stops[run] // height, stops[run] % height, height - 1)
    return columns, first, last + 1


def _numbers_within(counts: np.ndarray) -> np.ndarray:
    """0, 1 ... for each of the counts: (2, 3) gives 0 1 0 1 2."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


def _encode(starts: np.ndarray, stops: np.ndarray, size: tuple[int, int]) -> dict:
    """COCO's encoding of runs of ones in ascending order, which may touch."""
    edges = np.stack([starts, stops], axis=1).ravel()
    touching = 2 * np.flatnonzero(starts[1:] == stops[:-1]) + 1
    edges = np.delete(edges, [touching, touching + 1])
    lengths = np.diff(edges, prepend=0, append=size[0] * size[1])
    lengths = lengths[: len(lengths) - (lengths[-1] == 0)]
    rle = mask_api.frPyObjects({"size": list(size), "counts": lengths.tolist()}, *size)
    return {"size": list(size), "counts": rle["counts"].decode()}
