"""Masks as runs of pixels: moved, cut and enlarged without a pixel being drawn."""

import numpy as np

from convnext_dense.inference.rle_codec import Runs, runs_of_rle, to_rle


def place(
    rle: dict, left: int, top: int, size: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)
) -> dict:
    """:func:`moved` from COCO's encoding to COCO's encoding, with text counts."""
    return to_rle(moved(runs_of_rle(rle), left, top, size, scale))


def moved(
    runs: Runs, left: int, top: int, size: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)
) -> Runs:
    """A mask in an image of another size; what lies outside of it is cut off.

    Args:
        runs: The mask.
        left, top: Where the mask's first pixel comes to lie, in pixels of the new image.
        size: (height, width) of the new image.
        scale: Enlargement (horizontal, vertical) before that; a new pixel takes the value of the
            mask at its centre.

    Returns:
        The mask there; time and memory depend on the runs, not on the pixels.
    """
    columns, first, last = _columns(runs)
    edges = np.ceil(np.arange(runs.size[1] + 1) * scale[0] - 0.5).astype(np.int64)
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
    return Runs(start + first[inside], start + last[inside], tuple(size))


def _columns(runs: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The runs of ones, cut where a column ends: column, first row, row after the last."""
    height, starts, stops = runs.size[0], runs.starts, runs.stops - 1  # the last pixel
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
