"""What the engine needs to know of a COCO file, read and checked once."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import MissingDataError, UserError

SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Instances:
    """The annotations of a file, one entry each (n,).

    Attributes:
        labels: Place of the category in the file's order.
        crowd: Whether it is a crowd, on which nothing is trained.
        dropped: Whether mmdet leaves it out: without area, below a pixel, outside, ``ignore``.
        sides: Shorter side of its image in pixels.
        images: Place of its image in the file's order.
    """

    labels: np.ndarray
    crowd: np.ndarray
    dropped: np.ndarray
    sides: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class AnnotationSummary:
    """What a config needs to know of a COCO annotation file.

    Attributes:
        path: The file.
        classes: Category names in the file's order, which is the order of the labels.
        has_masks: Whether the annotations carry segmentations (all of them, or none).
        file_names: The images, as the file names them.
        sizes: (width, height) of the images in pixels.
        instances: The annotations.
        notes: What is odd but can be trained on, a line each.
    """

    path: str
    classes: tuple[str, ...]
    has_masks: bool
    file_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    instances: Instances
    notes: tuple[str, ...]

    @property
    def annotated(self) -> bool:
        """Whether there is any annotation."""
        return self.num_annotations > 0

    @property
    def num_annotations(self) -> int:
        """Number of annotations."""
        return len(self.instances.labels)


def read_summary(path: str) -> AnnotationSummary:
    """Reads and checks a COCO annotation file; the same file again costs nothing.

    Raises:
        UserError: When the file is missing, is not complete JSON, or is not COCO.
    """
    if not Path(path).is_file():
        raise MissingDataError("annotation file", path)
    state = os.stat(path)
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: str, *_state: int) -> AnnotationSummary:
    content = read_json(path)
    if isinstance(content, dict):
        content.setdefault("annotations", [])  # the file of a test server has none
    for section in SECTIONS:
        if not isinstance(content, dict) or not isinstance(content.get(section), list):
            raise UserError(
                f"{path} is not a COCO file: it needs {', '.join(SECTIONS[:2])} and "
                f"{SECTIONS[2]}, a list each."
            )
    notes = check_coco(path, content)
    classes = tuple(category["name"] for category in content["categories"])
    with_mask = any(annotation.get("segmentation") for annotation in content["annotations"])
    return AnnotationSummary(
        path=path,
        classes=classes,
        has_masks=with_mask,
        file_names=tuple(image["file_name"] for image in content["images"]),
        sizes=tuple((image["width"], image["height"]) for image in content["images"]),
        instances=_instances(content),
        notes=tuple(notes),
    )


def _instances(content: dict) -> Instances:
    annotations = content["annotations"]
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    place_of = {image["id"]: place for place, image in enumerate(content["images"])}
    label_of = {category["id"]: label for label, category in enumerate(content["categories"])}
    limits = np.array([sizes[a["image_id"]] for a in annotations], float).reshape(-1, 2)
    boxes = np.array([a["bbox"] for a in annotations], float).reshape(-1, 4)
    start, extent = boxes[:, :2], boxes[:, 2:]
    inside = np.minimum(start + extent, limits) - np.maximum(start, 0)
    area = np.array([a["area"] for a in annotations], float)
    ignored = np.array([bool(a.get("ignore")) for a in annotations], bool)
    return Instances(
        labels=np.array([label_of[a["category_id"]] for a in annotations], int),
        crowd=np.array([bool(a.get("iscrowd")) for a in annotations], bool),
        dropped=(extent < 1).any(1) | (inside <= 0).any(1) | (area <= 0) | ignored,
        sides=limits.min(1) if len(limits) else np.zeros(0),
        images=np.array([place_of[a["image_id"]] for a in annotations], int),
    )


def count_instances(
    summary: AnnotationSummary, classes: tuple[str, ...], min_size: int = 0
) -> dict[str, int]:
    """The instances of each class that training uses.

    Args:
        summary: The file.
        classes: Names of the classes, all known to the file.
        min_size: Pixels that an image's shorter side has at least.
    """
    found = summary.instances
    used = ~found.crowd & ~found.dropped & (found.sides >= min_size)
    counts = np.bincount(found.labels[used], minlength=len(summary.classes))
    return {name: int(counts[summary.classes.index(name)]) for name in classes}


def check_trainable(
    summary: AnnotationSummary, classes: tuple[str, ...], min_size: int = 0
) -> None:
    """Refuses a file of which nothing is left to train on.

    Raises:
        UserError: Says what became of its annotations.
    """
    if not summary.num_annotations:
        raise UserError(f"{summary.path} holds no instance: there is nothing to train on.")
    if any(count_instances(summary, classes, min_size).values()):
        return
    found, left = summary.instances, np.ones(summary.num_annotations, bool)
    known = [label for label, name in enumerate(summary.classes) if name in classes]
    reasons = []
    for out, what in (
        (~np.isin(found.labels, known), "of other classes"),
        (found.crowd, "crowds (iscrowd)"),
        (found.dropped, "without area, below a pixel, outside or marked ignore"),
        (found.sides < min_size, f"in images below {min_size} pixels (filter_cfg.min_size)"),
    ):
        if count := int((left & out).sum()):
            reasons.append(f"{count} {what}")
        left &= ~out
    raise UserError(
        f"{summary.path} leaves no instance to train on; of its {summary.num_annotations} "
        f"annotations are {', '.join(reasons)}: mend the file, the classes or the filter."
    )
