"""What the engine needs to know of a COCO panoptic file, read and checked once."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from convnext_dense.data.panoptic.segments import MOST_IDS
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import MissingDataError, UserError

SECTIONS = ("images", "annotations", "categories")
MOST_CLASSES = 255  # of things and stuff together: labels have 8 bits, and 255 is ignored


class Segment(NamedTuple):
    """A segment of an image: its id in the PNG, its class, and whether it is a crowd."""

    id: int
    category: str
    is_crowd: bool


@dataclass(frozen=True)
class PanopticImage:
    """An image of the file.

    Attributes:
        id: Its id.
        file_name: Its file, as the annotation file names it.
        size: (width, height) in pixels.
        png: The file of its segments, as the annotation file names it; None without annotation.
        segments: Its segments.
    """

    id: int
    file_name: str
    size: tuple[int, int]
    png: str | None
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class PanopticSummary:
    """What a config needs to know of a COCO panoptic file.

    Attributes:
        path: The file.
        things: Names of the categories whose instances are told apart, in the file's order.
        stuff: Names of the others, in the file's order.
        category_ids: The file's id of each category.
        images: The images, in the file's order.
    """

    path: str
    things: tuple[str, ...]
    stuff: tuple[str, ...]
    category_ids: dict[str, int]
    images: tuple[PanopticImage, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """All names in the order of the labels: mmdet's models count things before stuff."""
        return self.things + self.stuff

    @property
    def num_segments(self) -> int:
        """Number of segments of all images."""
        return sum(len(image.segments) for image in self.images)


def read_panoptic(path: str) -> PanopticSummary:
    """Reads and checks a COCO panoptic file; the same file again costs nothing.

    Raises:
        UserError: When the file is missing, is not complete JSON, or is not a panoptic file.
    """
    if not Path(path).is_file():
        raise MissingDataError("annotation file", path)
    state = os.stat(path)
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: str, *_state: int) -> PanopticSummary:
    content = read_json(path)
    if isinstance(content, dict):
        content.setdefault("annotations", [])  # the file of a test server has none
    for section in SECTIONS:
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise UserError(
                f"{path} is not a COCO panoptic file: it needs images, annotations and categories, "
                "a list of entries each."
            )
    names = _check_categories(path, content["categories"])
    things = tuple(one["name"] for one in content["categories"] if one["isthing"])
    return PanopticSummary(
        path=path,
        things=things,
        stuff=tuple(name for name in names.values() if name not in things),
        category_ids={name: number for number, name in names.items()},
        images=_images(path, content, names),
    )


def _check_categories(path: str, categories: Sequence[dict]) -> dict[int, str]:
    """Id of each category -> its name."""
    for one in categories:
        _need(path, "category", one, ("id", "name", "isthing"))
        if one["isthing"] not in (0, 1):
            raise UserError(
                f"{path}: isthing of the category {one['name']!r} is {one['isthing']!r}: write 1 "
                "for things, whose instances are told apart, and 0 for stuff."
            )
    _refuse_repeated(path, "category", "id", (one["id"] for one in categories))
    _refuse_repeated(path, "category", "name", (one["name"] for one in categories))
    if len({one["isthing"] for one in categories}) != 2:
        kind = "stuff" if categories and categories[0]["isthing"] else "things"
        raise UserError(
            f"{path} has no {kind} among its categories (isthing): a panoptic model needs things "
            "and stuff; for things alone train a detector, for stuff alone a segmentor."
        )
    if len(categories) > MOST_CLASSES:
        raise UserError(
            f"{path} has {len(categories)} categories, and labels of panoptic models know "
            f"{MOST_CLASSES}: leave some out."
        )
    return {one["id"]: one["name"] for one in categories}


def _images(path: str, content: dict, names: dict[int, str]) -> tuple[PanopticImage, ...]:
    """The images with their segments."""
    for image in content["images"]:
        _need(path, "image", image, ("id", "file_name", "width", "height"))
    _refuse_repeated(path, "image", "id", (one["id"] for one in content["images"]))
    for one in content["annotations"]:
        _need(path, "annotation", one, ("image_id", "file_name", "segments_info"))
    _refuse_repeated(
        path, "annotation", "image_id", (a["image_id"] for a in content["annotations"])
    )
    annotations = {one["image_id"]: one for one in content["annotations"]}
    if unknown := annotations.keys() - {image["id"] for image in content["images"]}:
        raise UserError(
            f"{path}: {len(unknown)} annotations belong to images that the file does not list "
            f"(image_id {min(unknown, key=str)}): add these images or remove the annotations."
        )
    return tuple(
        _image(path, image, annotations.get(image["id"]), names) for image in content["images"]
    )


def _image(path: str, image: dict, annotation: dict | None, names: dict) -> PanopticImage:
    size = (image["width"], image["height"])
    if annotation is None:
        return PanopticImage(image["id"], image["file_name"], size, None, ())
    where = f"{path}: image {image['file_name']}"
    segments = []
    for one in annotation["segments_info"]:
        _need(where, "segment", one, ("id", "category_id"))
        if one["category_id"] not in names:
            raise UserError(
                f"{where}: segment {one['id']} has category_id {one['category_id']}, and the file "
                "has no such category: add it to categories, or correct the segment."
            )
        if type(one["id"]) is not int or not 0 < one["id"] < MOST_IDS:
            raise UserError(
                f"{where}: {one['id']!r} is no id of a segment: ids are whole numbers from 1 to "
                f"{MOST_IDS - 1:,}, the colours of the PNG."
            )
        segments.append(Segment(one["id"], names[one["category_id"]], bool(one.get("iscrowd"))))
    _refuse_repeated(where, "segment", "id", (one.id for one in segments))
    return PanopticImage(
        image["id"], image["file_name"], size, annotation["file_name"], tuple(segments)
    )


def _need(path: str, kind: str, entry: Any, keys: Sequence[str]) -> None:
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        article = "an" if kind[0] in "aei" else "a"
        extra = ""
        if kind == "annotation" and "segments_info" in missing:
            extra = " (it looks like a file of instances: detectors train on those)"
        raise UserError(
            f"{path} is not a COCO panoptic file: {article} {kind} has no {missing[0]}{extra}."
        )


def _refuse_repeated(path: str, kind: str, key: str, values: Iterable[Any]) -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise UserError(
            f"{path}: {len(repeated)} {key} of {kind} entries occur more than once, such as "
            f"{repeated[0]!r}: give each {kind} its own."
        )


def trained_images(
    summary: PanopticSummary, classes: Sequence[str], filter_cfg: Mapping[str, Any] | None
) -> list[PanopticImage]:
    """The images that training uses: annotated ones.

    Args:
        summary: The file.
        classes: Names of the classes.
        filter_cfg: The dataset's: ``filter_empty_gt`` leaves out images that show no thing, and
            ``min_size`` those whose shorter side has fewer pixels.
    """
    settings = filter_cfg or {}
    things = set(summary.things) & set(classes)
    return [
        image
        for image in summary.images
        if image.png is not None
        and min(image.size) >= settings.get("min_size", 0)
        and (
            not settings.get("filter_empty_gt")
            or any(one.category in things and not one.is_crowd for one in image.segments)
        )
    ]


def count_segments(images: Iterable[PanopticImage], classes: Sequence[str]) -> dict[str, int]:
    """The segments of each class in some images, without crowds."""
    counts = Counter(
        segment.category for image in images for segment in image.segments if not segment.is_crowd
    )
    return {name: counts[name] for name in classes}
