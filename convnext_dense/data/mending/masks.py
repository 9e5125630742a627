"""Segmentations: the ways in which tools write polygons and RLE, and what they tell of a box."""

import ast
import json
import operator
from typing import Any

from convnext_dense.data.coco.check_masks import POINTS
from convnext_dense.data.mending.draft import Draft, Row, row
from convnext_dense.data.mending.numbers import numbers, whole

NEEDED = 2 * POINTS  # numbers of a polygon


def write_masks_alike(draft: Draft) -> list[Row]:
    """Polygons as lists of x1, y1, x2, y2 ..., RLE as size and counts; none where it is empty.

    What can be read in no way stays, and the check of the masks names it.
    """
    empty, changed = [], []
    sizes = draft.sizes()
    for one in draft.annotations:
        if "segmentation" not in one:
            continue
        written = one["segmentation"]
        mask = _alike(written, sizes.get(one["image_id"]))
        if mask is None:
            del one["segmentation"]
            if written != []:
                empty.append(f"annotation {one.get('id')}: {written}")
        elif mask is not written:
            one["segmentation"] = mask
            changed.append(f"annotation {one.get('id')}: {written}")
    return [
        *row("segmentations that are empty: removed", empty),
        *row("segmentations in another form: polygons or RLE as COCO has them now", changed),
    ]


def has_mask(mask: Any) -> bool:
    """Whether a segmentation is one: no empty list, and no polygons of zeros."""
    mask = _alike(mask, None)
    if isinstance(mask, list) and all(numbers(part) is not None for part in mask):
        return any(any(numbers(part)) for part in mask)
    return mask is not None


def mask_box(mask: Any, size: tuple[int, int] | None) -> list[float] | None:
    """The box x, y, width, height around a mask; None where there is none to tell it by.

    Args:
        mask: Polygons or RLE.
        size: (width, height) of the image.
    """
    if isinstance(mask, list):
        points = [numbers(part) for part in mask]
        if None in points or not any(points):
            return None
        xs, ys = ([value for part in points for value in part[k::2]] for k in (0, 1))
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    rle = _encode(mask, size)
    if rle is None:
        return None
    from pycocotools import mask as tools

    return tools.toBbox(rle).tolist()


def mask_area(mask: Any, size: tuple[int, int] | None) -> float | None:
    """The pixels of a mask, as COCO's tools count them; None where they cannot."""
    rle = _encode(mask, size)
    if rle is None:
        return None
    from pycocotools import mask as tools

    return float(tools.area(rle))


def _encode(mask: Any, size: tuple[int, int] | None) -> Any:
    """A mask as COCO's RLE; None where it cannot be encoded."""
    from pycocotools import mask as tools  # of the extra `detection`

    if not mask or size is None:
        return None
    width, height = size
    if isinstance(mask, list):
        if any(len(part) < NEEDED or numbers(part) is None for part in mask):
            return None
        return tools.merge(tools.frPyObjects(mask, height, width))
    if mask.get("size") != [height, width]:
        return None
    counts = mask.get("counts")
    if isinstance(counts, list):
        fits = all(type(n) is int and n >= 0 for n in counts) and sum(counts) == width * height
        return tools.frPyObjects(mask, height, width) if fits else None
    return mask if isinstance(counts, str) else None


def _alike(mask: Any, size: tuple[int, int] | None) -> Any:
    """A mask as COCO has it; None where it is empty, itself where it cannot be read."""
    if isinstance(mask, str) and mask.strip()[:1] in ("[", "{"):  # the text of a list, as in a csv
        mask = _alike(_parsed(mask), size) if _parsed(mask) is not None else mask
    if isinstance(mask, list) and len(mask) == 1 and isinstance(mask[0], dict):
        mask = mask[0] if "counts" in mask[0] else mask
    if isinstance(mask, dict) and mask:
        return _rle(mask, size)
    if isinstance(mask, list) and mask:
        return _polygons(mask)
    return None if mask is None or mask in ("", [], {}) else mask


def _rle(mask: dict, size: tuple[int, int] | None) -> dict | None:
    counts, sides = mask.get("counts"), mask.get("size")
    if counts in (None, "", []):
        return None if counts is None and not sides or counts in ("", []) else mask
    if sides is None and size is not None:  # whether it fills the image is checked
        sides = [size[1], size[0]]
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):  # the text of Python's bytes
        counts = _bytes(counts)
    sides, counts = _whole(sides), _whole(counts)
    if sides is mask.get("size") and counts is mask.get("counts"):
        return mask
    return mask | dict(size=sides, counts=counts)


def _whole(values: Any) -> Any:
    """A list of whole numbers as such; anything else, and what is one already, as it is."""
    if not isinstance(values, list) or all(type(value) is int for value in values):
        return values
    found = [whole(value) for value in values]
    return values if None in found else found


def _parsed(text: str) -> list | dict | None:
    """What a text of JSON or of Python's own holds; None where it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list | dict) else None
    return None


def _bytes(text: str) -> str:
    try:
        return ast.literal_eval(text).decode("ascii")
    except (ValueError, SyntaxError, AttributeError):
        return text


def _polygons(mask: list) -> Any:
    """Polygons out of one polygon, of points, or of a list of either; None where all are empty."""
    parts = [mask] if _is_one(mask) else mask
    polygons = [_polygon(part) for part in parts]
    if None in polygons:
        return mask
    polygons = [polygon for polygon in polygons if polygon]
    polygons = [polygon for polygon in polygons if len(polygon) >= NEEDED] or polygons
    if len(polygons) == len(mask) and all(map(operator.is_, polygons, mask)):
        return mask
    return polygons or None


def _is_one(mask: list) -> bool:
    """Whether a list is one polygon: of numbers, or of three points and more."""
    if not isinstance(mask[0], list):
        return True
    return len(mask) >= POINTS and all(
        isinstance(point, list) and len(point) == 2 and numbers(point) is not None for point in mask
    )


def _polygon(part: Any) -> list | None:
    """A polygon of numbers, of points [x, y] or of points {x, y}; None where it is none."""
    if not isinstance(part, list):
        return None
    if part and all(isinstance(point, dict) and {"x", "y"} <= point.keys() for point in part):
        part = [[point["x"], point["y"]] for point in part]
    if part and all(isinstance(point, list) and len(point) == 2 for point in part):
        part = [value for point in part for value in point]
    return numbers(part)
