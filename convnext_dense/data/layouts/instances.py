"""Label images whose values tell objects apart, turned into COCO's form.

Cityscapes (https://github.com/mcordts/cityscapesScripts): an object's value is id * 1000 + number;
a value below 1000 is a class whose objects are not told apart. Mapillary Vistas: label * 256 +
number. VOC: the k-th object of an image has the value k, 255 is the border. COCO panoptic
(https://cocodataset.org/#format-data): red + 256 * green + 65536 * blue is the id of a segment of
the JSON file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from convnext_dense.data.formats.content import ContentBuilder
from convnext_dense.data.labels.label_image import IGNORED, read_colours, read_indices
from convnext_dense.data.layouts.layout import Pair
from convnext_dense.errors import UserError

CITYSCAPES_STEP, MAPILLARY_STEP = 1000, 256
# Cityscapes: ids of the classes that have objects, of those that its benchmark evaluates.
CITYSCAPES_THINGS = {
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip


class LabelObject(NamedTuple):
    """Class and mask (height, width) of an object of a label image, and whether it is several."""

    name: str
    mask: np.ndarray
    is_crowd: bool = False


def labels_to_coco(
    pairs: Iterable[Pair],
    classes: Sequence[str],
    objects: Callable[[Path], Iterable[LabelObject]],
) -> dict:
    """Objects of label images in COCO's form, their masks as run lengths.

    Args:
        pairs: Images, and the label images that tell objects apart.
        classes: Names of the categories, in their order.
        objects: Reads a label image: :func:`cityscapes_objects`, :func:`components` ...

    Raises:
        UserError: For a label image of another size than its image, or one that cannot be read.
    """
    builder = ContentBuilder(classes)
    for path, label in pairs:
        image = builder.add_image(path)
        for found in objects(label):
            if found.mask.shape != (image["height"], image["width"]):
                height, width = found.mask.shape
                raise UserError(
                    f"{label} has {width} x {height} pixels but {path} has {image['width']} x "
                    f"{image['height']}: a label image must have the size of its image."
                )
            builder.add_mask(image, found.name, found.mask, iscrowd=int(found.is_crowd))
    return builder.content()


def cityscapes_objects(path: Path) -> Iterator[LabelObject]:
    """Objects of ``*_instanceIds.png``; a group of a class is a crowd, other areas are left out."""
    return _objects(read_indices(path), CITYSCAPES_STEP, CITYSCAPES_THINGS, groups=True)


def mapillary_objects(path: Path, names: Mapping[int, str]) -> Iterator[LabelObject]:
    """Objects of Mapillary's ``instances``; ``names`` of the labels that have objects."""
    values = read_indices(path)
    return _objects(values + MAPILLARY_STEP, MAPILLARY_STEP, {k + 1: n for k, n in names.items()})


def voc_objects(path: Path, labels: Path, names: Sequence[str]) -> Iterator[LabelObject]:
    """Objects of a file of ``SegmentationObject``; their classes are those of ``labels``.

    Raises:
        UserError: For an object that no class or several classes cover.
    """
    numbers, classes = read_indices(path), read_indices(labels)
    if numbers.shape != classes.shape:
        raise UserError(f"{path} and {labels} have different sizes: they describe one image.")
    for number in sorted(set(np.unique(numbers).tolist()) - {0, IGNORED}):
        mask = numbers == number
        found = sorted(set(np.unique(classes[mask]).tolist()) - {IGNORED})
        if len(found) != 1 or not 0 < found[0] < len(names):
            raise UserError(
                f"The object {number} of {path} has the labels {found} in {labels}: an object has "
                f"one class, from 1 to {len(names) - 1}."
            )
        yield LabelObject(names[found[0]], mask)


def panoptic_objects(
    path: Path, segments: Sequence[Mapping], things: Mapping[int, str]
) -> Iterator[LabelObject]:
    """Objects of a panoptic image of COCO.

    Args:
        path: The image, whose colours are ids.
        segments: ``segments_info`` of its annotation.
        things: Names of the categories that have objects, by id; others are left out.

    Raises:
        UserError: For a segment without a pixel.
    """
    codes = read_colours(path)  # red * 65536 + green * 256 + blue
    ids = (codes >> 16) + (codes & 0xFF00) + ((codes & 0xFF) << 16)
    for segment in segments:
        if segment["category_id"] not in things:
            continue
        mask = ids == segment["id"]
        if not mask.any():
            raise UserError(f"{path} has no pixel of the segment {segment['id']} of its JSON file.")
        yield LabelObject(things[segment["category_id"]], mask, bool(segment.get("iscrowd")))


def components(path: Path, names: Mapping[int, str]) -> Iterator[LabelObject]:
    """Connected areas of each class as an object each, neighbours by a corner included.

    Objects that touch become one, and a covered one several: this is for labels that tell no
    objects apart, where somebody asks for it.

    Args:
        path: A label image of classes.
        names: Names of the classes that have objects, by label.
    """
    labels = read_indices(path)
    for label, name in names.items():
        count, areas = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        for area in range(1, count):
            yield LabelObject(name, areas == area)


def _objects(
    values: np.ndarray, step: int, names: Mapping[int, str], groups: bool = False
) -> Iterator[LabelObject]:
    """Objects of the value class * ``step`` + number; with ``groups``, bare classes are crowds."""
    for value in np.unique(values).tolist():
        is_group = groups and value < step
        name = names.get(value if is_group else value // step)
        if name is not None:
            yield LabelObject(name, values == value, is_group)
