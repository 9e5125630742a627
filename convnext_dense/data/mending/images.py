"""The images of a COCO file: where they are, their sizes, and those that are listed twice."""

import os
from collections import defaultdict
from collections.abc import Sequence

from convnext_dense.data.coco.find_images import missing_images
from convnext_dense.data.image_size import image_size
from convnext_dense.data.mending.draft import Draft, Row, row
from convnext_dense.data.mending.file_names import find_files
from convnext_dense.data.mending.numbers import whole
from convnext_dense.errors import UserError

MOST_MISSING = 0.5  # share of the images, from which the folder is likely to be a wrong one
SIDES = ("width", "height")


def find_image_files(draft: Draft) -> list[Row]:
    """Names images as their files are named: slashes, escapes, sub-folders, upper and lower case.

    Raises:
        UserError: Where several files fit a name, or several names a file.
    """
    names = _names(draft)
    folder = str(draft.folder or "")
    missing = missing_images(folder, names)
    if not missing:
        return []
    found = find_files(draft.source, folder, missing, taken=set(names) - set(missing))
    for image in draft.images:
        image["file_name"] = found.get(image["file_name"], image["file_name"])
    shown = [f"{name} -> {file}" for name, file in found.items()]
    return row("file names: they are those of the files now", shown)


def leave_out_missing(draft: Draft) -> list[Row]:
    """Leaves out images that have no file, with their annotations, where most have one."""
    missing = set(missing_images(str(draft.folder or ""), _names(draft)))
    if not missing or len(missing) > MOST_MISSING * len(draft.images):
        return []  # the check of the images says what is wrong
    gone = {image["id"] for image in draft.images if image["file_name"] in missing}
    draft.images = [image for image in draft.images if image["id"] not in gone]
    annotations = [one for one in draft.annotations if one["image_id"] in gone]
    draft.annotations = [one for one in draft.annotations if one["image_id"] not in gone]
    return [
        *row("images without a file: left out", sorted(missing)),
        *row("annotations of images without a file: left out", _ids(annotations)),
    ]


def complete_sizes(draft: Draft) -> list[Row]:
    """Sizes as whole numbers; where there is none, that of the image file."""
    written, read = [], []
    for image in draft.images:
        for side in SIDES:
            value = image.get(side)
            number = whole(value)
            if number is not None and type(value) is not int:
                image[side] = number
                written.append(f"{side} {value!r} of {image['file_name']}")
        if any(image.get(side) in (None, 0, "") for side in SIDES):
            path = os.path.join(draft.folder or "", image["file_name"])
            if not os.path.isfile(path):
                continue
            image.update(zip(SIDES, image_size(path), strict=True))
            read.append(f"{image['file_name']}: {image['width']} x {image['height']}")
    return [
        *row("sizes as texts or floats: they are whole numbers now", written),
        *row("sizes missing: read from the files", read),
    ]


def join_repeated(draft: Draft) -> list[Row]:
    """Makes one of the entries of each file; equal annotations of both are kept once.

    Raises:
        UserError: Where the entries have different sizes and annotations, or where one id has
            several files.
    """
    _refuse_shared_ids(draft)
    entries: dict[str, list[dict]] = defaultdict(list)
    for image in draft.images:
        entries[os.path.normpath(image["file_name"])].append(image)
    repeated = {name: images for name, images in entries.items() if len(images) > 1}
    if not repeated:
        return []
    annotations: dict[object, list[dict]] = defaultdict(list)
    for one in draft.annotations:
        annotations[one["image_id"]].append(one)
    new_id, dropped = {}, set()
    for name, images in repeated.items():
        kept = _choose(draft, name, images, annotations)
        new_id |= {image["id"]: kept["id"] for image in images}
        dropped |= {id(image) for image in images if image is not kept}
    draft.images = [image for image in draft.images if id(image) not in dropped]
    seen, left = set(), []
    for one in draft.annotations:
        if one["image_id"] in new_id:
            one["image_id"] = new_id[one["image_id"]]
            key = (one["image_id"], one["category_id"], repr(one.get("bbox")),
                   repr(one.get("segmentation")))  # fmt: skip
            if key in seen:
                continue
            seen.add(key)
        left.append(one)
    again = len(draft.annotations) - len(left)
    draft.annotations = left
    rows = row("images listed twice: joined", list(repeated))
    return [*rows, *([Row("annotations in both entries: kept once", again, "")] if again else [])]


def _refuse_shared_ids(draft: Draft) -> None:
    names: dict[object, str] = {}
    for image in draft.images:
        name = os.path.normpath(image["file_name"])
        if names.setdefault(image["id"], name) != name:
            raise UserError(
                f"{draft.source} gives the id {image['id']} to {names[image['id']]} and to {name}: "
                "whose annotations are whose would be a guess: give each image an id of its own."
            )


def _choose(
    draft: Draft, name: str, images: Sequence[dict], annotations: dict[object, list[dict]]
) -> dict:
    """The entry of a file that stays."""
    sizes = {(image.get("width"), image.get("height")) for image in images}
    annotated = [image for image in images if annotations[image["id"]]] or list(images)
    if len(sizes) > 1 and len(annotated) > 1:
        shown = " and ".join(f"{width} x {height}" for width, height in sorted(sizes, key=str))
        raise UserError(
            f"{draft.source} lists {name} as {len(images)} images of different sizes ({shown}), "
            "each with annotations, and which of them fit would be a guess: remove the wrong entry."
        )
    return annotated[0]


def _names(draft: Draft) -> tuple[str, ...]:
    wrong = [i for i, image in enumerate(draft.images) if not _is_text(image.get("file_name"))]
    draft.refuse("images", wrong, "a file_name that is no text", "name the file")
    return tuple(image["file_name"] for image in draft.images)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _ids(annotations: Sequence[dict]) -> list[str]:
    return [f"annotation {one.get('id')}" for one in annotations]
