"""What a COCO file must hold before anything is built on it.

mmdet ends with a KeyError where a box has no area, and leaves out without a word what refers to a
picture or a category that is not there.
"""

from collections import Counter
from collections.abc import Callable

from convnext_dense.errors import UserError

IMAGE_KEYS = ("id", "file_name", "height", "width")
ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area")


def check_coco(path: str, content: dict) -> None:
    """Checks the entries of a COCO file: their keys, their ids and what they refer to.

    Args:
        path: The file, for the message.
        content: What it holds: ``images``, ``annotations``, ``categories``.

    Raises:
        UserError: Names the file, the count and the first entry that is wrong.
    """
    images, annotations = content["images"], content["annotations"]
    if not images:
        raise UserError(f"{path} names no picture.")
    for kind, entries, keys in (
        ("images", images, IMAGE_KEYS),
        ("annotations", annotations, ANNOTATION_KEYS),
        ("categories", content["categories"], ("id",)),
    ):
        for key in keys:
            _refuse(path, kind, entries, lambda entry, key=key: key not in entry, f"no {key!r}")
        ids = Counter(entry["id"] for entry in entries)
        _refuse(path, kind, entries, lambda entry, ids=ids: ids[entry["id"]] > 1, "a doubled id")
    pictures = {image["id"] for image in images}
    categories = {category["id"] for category in content["categories"]}
    for wrong, what in (
        (lambda entry: len(entry["bbox"] or ()) != 4, "no box of x, y, width, height"),
        (lambda entry: entry["image_id"] not in pictures, "an image_id that no picture has"),
        (lambda entry: entry["category_id"] not in categories, "a category_id of no category"),
    ):
        _refuse(path, "annotations", annotations, wrong, what)


def _refuse(
    path: str, kind: str, entries: list[dict], wrong: Callable[[dict], bool], what: str
) -> None:
    found = [entry for entry in entries if wrong(entry)]
    if found:
        hint = " (width x height of its box will do)" if what == "no 'area'" else ""
        raise UserError(
            f"{path}: {len(found)} of {len(entries)} {kind} have {what}{hint}; the first has "
            f"{_short(found[0])}."
        )


def _short(entry: dict) -> str:
    """An entry without its long parts."""
    shown = {key: value for key, value in entry.items() if key != "segmentation"}
    return str(shown)
