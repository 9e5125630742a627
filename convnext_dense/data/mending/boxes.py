"""Boxes, areas and crowds of annotations."""

from typing import Any

from convnext_dense.data.coco.check_boxes import EDGE
from convnext_dense.data.mending.draft import Draft, Row, row
from convnext_dense.data.mending.masks import NEEDED, has_mask, mask_area, mask_box
from convnext_dense.data.mending.numbers import number, numbers, whole

ROUNDING = 0.01  # pixels over the edge that are not worth a word
MOST_FLAT = 0.1  # share of annotations without area, from which boxes seem to mean something else


def complete_boxes(draft: Draft) -> list[Row]:
    """Boxes as numbers; from the mask where there is none or one without area."""
    written, from_masks = [], []
    sizes = draft.sizes()
    for one in draft.annotations:
        box = numbers(one.get("bbox"))
        if box and len(box) == 4 and box != one["bbox"]:
            written.append(f"annotation {one.get('id')}: {one['bbox']}")
        if box and len(box) == 4:
            one["bbox"] = box
        if "segmentation" in one and (not one.get("bbox") or is_flat(one)):
            found = mask_box(one["segmentation"], sizes.get(one["image_id"]))
            if found and min(found[2:]) > 0:
                one["bbox"] = found
                from_masks.append(f"annotation {one.get('id')}: {found}")
    return [
        *row("boxes in texts: they are numbers now", written),
        *row("boxes missing or without area: made of the masks", from_masks),
    ]


def leave_out_negatives(draft: Draft) -> list[Row]:
    """Leaves out what says that an image has no object: a box of zeros or of nothing, no mask."""
    found = [one for one in draft.annotations if _is_negative(one)]
    if found:
        draft.annotations = [one for one in draft.annotations if not _is_negative(one)]
    return row(
        "boxes of zeros: left out, their images count without them",
        [f"image {one.get('image_id')}: {one['bbox']}" for one in found],
    )


def clip_boxes(draft: Draft) -> list[Row]:
    """Cuts boxes that reach over the edge by a pixel at most, as rounding does."""
    clipped = []
    sizes = draft.sizes()
    for one in draft.annotations:
        size, box = sizes.get(one["image_id"]), _box(one)
        if size is None or box is None:
            continue
        x, y, width, height = box
        over = max(-x, -y, x + width - size[0], y + height - size[1])
        if not ROUNDING < over <= EDGE:
            continue
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size[0]), min(y + height, size[1])
        one["bbox"] = [left, top, right - left, bottom - top]
        if "segmentation" not in one and number(one.get("area")):
            one["area"] = (right - left) * (bottom - top)
        clipped.append(f"annotation {one.get('id')}: {box} -> {one['bbox']}")
    return row("boxes up to a pixel over the edge: cut", clipped)


def complete_areas(draft: Draft) -> list[Row]:
    """Areas as numbers: where there is none, the mask's pixels, or width x height of the box."""
    made, written = [], []
    sizes = draft.sizes()
    for one in draft.annotations:
        area, box = number(one.get("area")), _box(one)
        if area is not None and area > 0:
            if type(one["area"]) is str:
                written.append(f"annotation {one.get('id')}: {one['area']!r}")
            one["area"] = area
        elif box is not None and min(box[2:]) > 0:
            pixels = None
            if "segmentation" in one:
                pixels = mask_area(one["segmentation"], sizes.get(one["image_id"]))
            one["area"] = box[2] * box[3] if pixels is None else pixels
            made.append(f"annotation {one.get('id')}: {one['area']:g}")
    return [
        *row("areas in texts: they are numbers now", written),
        *row("areas missing or 0: made of the masks or boxes", made),
    ]


def leave_out_flat(draft: Draft) -> list[Row]:
    """Leaves out annotations without area or with polygons of a line, where they are few."""
    found = [
        one for one in draft.annotations if is_flat(one) or one.get("area") == 0 or _is_line(one)
    ]
    if not found or len(found) > MOST_FLAT * len(draft.annotations):
        return []  # the check of the boxes says so
    gone = {id(one) for one in found}
    draft.annotations = [one for one in draft.annotations if id(one) not in gone]
    return row(
        "boxes or masks without area: left out",
        [f"annotation {one.get('id')}: {one.get('bbox')}" for one in found],
    )


def complete_crowds(draft: Draft) -> list[Row]:
    """``iscrowd`` is 0 where it is not stated."""
    missing, written = [], []
    for one in draft.annotations:
        value = one.get("iscrowd")
        if value is None:
            one["iscrowd"] = 0
            missing.append(f"annotation {one.get('id')}")
        elif type(value) in (str, float) and whole(value) in (0, 1):
            one["iscrowd"] = whole(value)
            written.append(f"annotation {one.get('id')}: {value!r}")
    return [
        *row("iscrowd missing: 0", missing),
        *row("iscrowd as a text or float: a whole number now", written),
    ]


def is_flat(annotation: dict) -> bool:
    """Whether an annotation has a box without width or height."""
    box = _box(annotation)
    return box is not None and min(box[2:]) == 0


def _is_negative(annotation: dict) -> bool:
    """Whether a box is of zeros, or an empty list, and so is the mask if there is one."""
    box = numbers(annotation.get("bbox"))
    return box is not None and not any(box) and not has_mask(annotation.get("segmentation"))


def _is_line(annotation: dict) -> bool:
    """Whether no polygon of an annotation has three points."""
    mask = annotation.get("segmentation")
    return (
        isinstance(mask, list)
        and bool(mask)
        and all(isinstance(part, list) and len(part) < NEEDED for part in mask)
    )


def _box(annotation: dict) -> list[Any] | None:
    box = numbers(annotation.get("bbox"))
    return box if box and len(box) == 4 else None
