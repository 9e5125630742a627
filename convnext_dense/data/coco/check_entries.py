"""What a COCO file must hold before anything is built on it: entries, their ids, their values.

mmdet ends with a KeyError where a box has no area, and leaves out without a word what refers to a
image or a category that is not there.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from convnext_dense.data.coco.check_boxes import check_boxes
from convnext_dense.data.coco.check_masks import check_masks
from convnext_dense.data.coco.findings import DoesNotFit, refuse
from convnext_dense.data.coco.repeats import note_repeats
from convnext_dense.errors import UserError

LARGEST = 1e9  # of a coordinate; comparisons with it are false for nan
LARGEST_ID = 2**63  # ids are put into tensors


def check_coco(path: str, content: dict) -> list[str]:
    """Checks the entries of a COCO file: keys, values, ids, what they refer to, boxes and masks.

    Args:
        path: The file, for the message.
        content: What it holds: ``images``, ``annotations``, ``categories``.

    Returns:
        A line for each kind of entry that training leaves out or that looks odd.

    Raises:
        UserError: Names the file, the count and the first entry that is wrong.
    """
    for kind, fields in FIELDS.items():
        _check_entries(path, kind, content[kind], fields)
    names = [category["name"] for category in content["categories"]]
    if not names or len(set(names)) != len(names):
        raise UserError(f"{path} needs categories with distinct names, it has {names}.")
    images, annotations = content["images"], content["annotations"]
    if not images:
        raise UserError(f"{path} names no image.")
    images_by_id = {image["id"]: image for image in images}
    categories = {category["id"] for category in content["categories"]}
    for key, known, what, fix in (
        ("image_id", images_by_id, "an image_id that no image has", "add the images"),
        ("category_id", categories, "a category_id of no category", "add the categories"),
    ):
        fix = f"{fix}, or remove these annotations"
        dangling = [i for i, entry in enumerate(annotations) if entry[key] not in known]
        refuse(path, "annotations", annotations, dangling, what, fix)
    image_of_each = [images_by_id[annotation["image_id"]] for annotation in annotations]
    sizes = [(image["width"], image["height"]) for image in image_of_each]
    try:
        return [
            *note_repeats(path, images, annotations),
            *check_boxes(path, annotations, sizes),
            *check_masks(path, annotations, sizes),
        ]
    except DoesNotFit as error:
        error.images = [images_by_id[annotation["image_id"]] for annotation in error.annotations]
        raise


def _check_entries(path: str, kind: str, entries: Any, fields: dict[str, "Field"]) -> None:
    if not isinstance(entries, list):
        raise UserError(f"{path} is not a COCO file: its {kind} are no list.")
    strange = [i for i, entry in enumerate(entries) if not isinstance(entry, dict)]
    refuse(path, kind, entries, strange, "no fields in braces")
    for key, (fits, needed, fix) in fields.items():
        if key not in OPTIONAL:
            lacking = [i for i, entry in enumerate(entries) if key not in entry]
            refuse(path, kind, entries, lacking, f"no {key!r}", fix)
        wrong = [i for i, entry in enumerate(entries) if key in entry and not fits(entry[key])]
        refuse(path, kind, entries, wrong, needed, fix)
    ids = Counter(entry["id"] for entry in entries)
    doubled = [i for i, entry in enumerate(entries) if ids[entry["id"]] > 1]
    refuse(path, kind, entries, doubled, "a doubled id", "each needs its own")


def _is_id(value: Any) -> bool:
    return type(value) is int and -LARGEST_ID <= value < LARGEST_ID


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < LARGEST


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST < value < LARGEST


def _is_area(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_flag(value: Any) -> bool:
    return value is None or value in (0, 1)


# (what a value must be, what an entry has where it is not, how to mend it)
Field = tuple[Callable[[Any], bool], str, str]
PIXELS = "pixels of the image file"
IDS = "as the file's images and categories have them"
REMOVE = "mend them or remove the annotations"
_ID: Field = (_is_id, "an id that is no whole number of 64 bits", "number them anew")
FIELDS: dict[str, dict[str, Field]] = {
    "categories": {"id": _ID, "name": (_is_text, "a name that is no text", "name the class")},
    "images": {
        "id": _ID,
        "file_name": (_is_text, "a file_name that is no text", "name the file"),
        "height": (_is_size, "a height that is no whole number above 0", PIXELS),
        "width": (_is_size, "a width that is no whole number above 0", PIXELS),
    },
    "annotations": {
        "id": _ID,
        "image_id": (_is_id, "an image_id that is no whole number of 64 bits", IDS),
        "category_id": (_is_id, "a category_id that is no whole number of 64 bits", IDS),
        "bbox": (_is_box, "no box of x, y, width, height in finite numbers", REMOVE),
        "area": (
            _is_area,
            "an area that is no finite number from 0 on",
            "width x height of its box will do",
        ),
        "iscrowd": (_is_flag, "an iscrowd that is neither 0 nor 1", ""),
    },
}
OPTIONAL = ("iscrowd",)
