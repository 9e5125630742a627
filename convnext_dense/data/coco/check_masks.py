"""Whether the masks of a COCO file are polygons or RLE of their image's size."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from convnext_dense.data.coco.findings import DoesNotFit, refuse, refuse_many
from convnext_dense.errors import UserError

SAMPLE = 20_000  # compressed RLEs that are counted through, evenly chosen
POINTS = 3  # of a polygon
PIXELS = "multiply by its width and height"
OTHER_SIZE = "an RLE of another size [height, width] than its image"


def check_masks(path: str, annotations: list[dict], sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Checks the segmentations: all annotations have one, or none has.

    Args:
        path: The COCO file, for the message.
        annotations: Its annotations.
        sizes: (width, height) of each annotation's image.

    Returns:
        A line about polygons of fewer than three points, where they are few (``TOLERATED``).

    Raises:
        UserError: For annotations without one beside others that have one, what is neither
            polygons nor RLE, polygons far outside of their image, and RLE of another size.
    """
    masks = [(i, a["segmentation"]) for i, a in enumerate(annotations) if a.get("segmentation")]
    if 0 < len(masks) < len(annotations):
        first = next(a["id"] for a in annotations if not a.get("segmentation"))
        raise UserError(
            f"{path}: {len(annotations) - len(masks)} of {len(annotations)} annotations have no "
            f"segmentation (first id: {first}). Complete them, or train on boxes alone: "
            "--boxes beside --train-data or --train-json leaves all masks out."
        )
    polygons = [(i, mask) for i, mask in masks if isinstance(mask, list)]
    coded = [(i, mask) for i, mask in masks if isinstance(mask, dict)]
    for among, fits, what in (
        (
            masks,
            lambda i, mask: isinstance(mask, list | dict),
            "a segmentation that is neither a list of polygons nor an RLE of size and counts",
        ),
        (
            polygons,
            lambda i, mask: all(map(_is_polygon, mask)),
            "a segmentation that is no list of polygons [x1, y1, x2, y2, ...] in finite numbers",
        ),
        (
            polygons,
            lambda i, mask: all(_is_near(part, max(sizes[i])) for part in mask),
            "a polygon that goes farther over the edge of its image than the image is long",
        ),
        (coded, lambda i, mask: _is_rle(mask), "an RLE without size [height, width] and counts"),
        (
            coded,
            lambda i, mask: tuple(mask["size"]) == sizes[i][::-1],
            OTHER_SIZE,
        ),
        (
            _some(coded),
            lambda i, mask: _pixels(mask["counts"]) == sizes[i][0] * sizes[i][1],
            "an RLE whose counts are damaged: they do not fill the image",
        ),
    ):
        wrong = [i for i, mask in among if not fits(i, mask)]
        kind = DoesNotFit if what == OTHER_SIZE else UserError
        refuse(path, "annotations", annotations, wrong, what, error=kind)
    if _are_fractions(polygons):
        what = "a polygon within 0 and 1, as if in fractions of the image"
        refuse(path, "annotations", annotations, [i for i, _ in polygons], what, PIXELS)
    short = [i for i, mask in polygons if all(len(part) < 2 * POINTS for part in mask)]
    what = "no polygon of three points or more"
    return refuse_many(path, annotations, short, what, "remove them or mend them")


def _is_polygon(part: Any) -> bool:
    if not isinstance(part, list) or len(part) % 2:
        return False
    try:  # one pass in C over what may be a hundred million numbers: a sum takes numbers alone
        return isfinite(sum(part))
    except (TypeError, OverflowError):
        return False


def _are_fractions(polygons: list[tuple[int, list]]) -> bool:
    """Whether all polygons lie within a pixel, between whole numbers."""
    largest = [max(part) for _, mask in polygons for part in mask if part]
    return bool(largest) and max(largest) <= 1 and any(value % 1 for value in largest)


def _is_near(part: list[float], side: int) -> bool:
    """Whether pycocotools can draw a polygon: its memory grows with the length of the edges."""
    return not part or -side <= min(part) and max(part) <= 2 * side


def _is_rle(mask: dict) -> bool:
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or [type(side) for side in size] != [int, int]:
        return False
    if isinstance(counts, list):
        return all(type(count) is int and 0 <= count < 2**32 for count in counts)
    return isinstance(counts, str)


def _some(coded: list[tuple[int, dict]]) -> list[tuple[int, dict]]:
    return coded[:: max(1, len(coded) // SAMPLE)]


def _pixels(counts: list[int] | str) -> int:
    """The pixels that an RLE's runs cover; -1 for damaged ones.

    A compressed run is a number in digits of 5 bits, lowest first, in characters from "0" on; bit
    6 says that another follows, and bit 5 of the last is the sign. From the fourth run on, it is
    the difference to the last but one (COCO API, maskApi.c).
    """
    if isinstance(counts, list):
        return sum(counts)
    digits = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        return -1
    last = digits & 32 == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(digits)) - np.repeat(first, np.diff([*first, len(digits)]))
    if place.max() > 6:  # more than 32 bits
        return -1
    runs = np.add.reduceat((digits & 31) << (5 * place), first)
    runs -= np.where(digits[last] & 16, 1 << (5 * (place[last] + 1)), 0)
    for begin in (1, 2):
        runs[begin::2] = np.cumsum(runs[begin::2])
    return int(runs.sum()) if (runs >= 0).all() else -1
