"""COCO's run-length encoding of binary masks, computed on the masks' device."""

import numpy as np
from pycocotools import mask as mask_api
from torch import Tensor

# A GPU needs two bytes for each pixel of a chunk; 100 masks of 800 x 1333 are one chunk.
CHUNK_PIXELS = 2**27


def encode_masks(masks: Tensor | np.ndarray) -> list[dict]:
    """Turns binary masks (n, H, W) into COCO RLE dicts with text counts.

    Equal to pycocotools' ``encode``, which reads whole images pixel by pixel and needs them in
    column-major order. Here a CPU reads only the columns that a mask touches, and a GPU sends only
    the ends of the runs to the host, not the masks.
    """
    if len(masks) == 0:
        return []
    height, width = masks.shape[1:]
    on_host = isinstance(masks, np.ndarray) or masks.device.type == "cpu"
    lengths = run_lengths_on_host(np.asarray(masks)) if on_host else run_lengths_on_device(masks)
    runs = [{"size": [height, width], "counts": counts.tolist()} for counts in lengths]
    encoded = mask_api.frPyObjects(runs, height, width)
    return [{**rle, "counts": rle["counts"].decode()} for rle in encoded]


def run_lengths_on_device(masks: Tensor, chunk_pixels: int = CHUNK_PIXELS) -> list[np.ndarray]:
    """Run lengths of each mask, by a few operations on the masks' device.

    Args:
        masks: (n, H, W), bool or uint8.
        chunk_pixels: Pixels that are encoded together, rounded down to whole masks, at least one.
            Each chunk waits for the device twice: for the number of runs and for their ends.

    Returns:
        As :func:`run_lengths_on_host`.
    """
    size = masks[0].numel()
    lengths = []
    for chunk in masks.split(max(1, chunk_pixels // size)):
        columns = chunk.bool().transpose(1, 2).flatten(1)  # (m, W * H), column after column
        changed = columns.clone()
        changed[:, 1:] ^= columns[:, :-1]
        edges = changed.flatten().nonzero()[:, 0].cpu().numpy()
        starts = np.arange(len(chunk)) * size
        parts = np.split(edges, np.searchsorted(edges, starts[1:]))
        lengths += [_lengths(part - start, size) for part, start in zip(parts, starts, strict=True)]
    return lengths


def run_lengths_on_host(masks: np.ndarray) -> list[np.ndarray]:
    """Lengths of the alternating runs of zeros and ones, column by column, zeros first.

    Args:
        masks: (n, H, W), bool or uint8.

    Returns:
        One array for each mask; its lengths add up to H * W.
    """
    masks = masks.astype(bool, copy=False)
    return [
        _lengths(_edges(mask, columns), mask.size)
        for mask, columns in zip(masks, masks.any(axis=1), strict=True)
    ]


def _edges(mask: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Positions whose value differs from the previous one; zero precedes the first one.

    Args:
        mask: (H, W), bool.
        columns: (W,), whether a column has any pixel of the mask.
    """
    (touched,) = columns.nonzero()
    if len(touched) == 0:
        return np.zeros(0, dtype=int)
    first, end = touched[0], touched[-1] + 1
    pixels = np.zeros(len(mask) * (end - first) + 2, dtype=bool)  # with a zero at both ends
    pixels[1:-1].reshape(end - first, -1)[:] = mask[:, first:end].T
    return np.flatnonzero(pixels[1:] != pixels[:-1]) + first * len(mask)


def _lengths(edges: np.ndarray, size: int) -> np.ndarray:
    """Distances between 0, the edges and the size; the last edge may equal the size."""
    end = [] if len(edges) and edges[-1] == size else [size]
    return np.diff(np.concatenate([[0], edges, end])).astype(int)
