"""The neutral form that every reader builds: COCO's content in memory, classes by name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convnext_dense.data.formats.geometry import (
    encode_mask,
    mask_box,
    polygons_area,
    polygons_box,
    within_image,
)
from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.image_size import image_size
from convnext_dense.errors import UserError

POINTS = 3  # of a polygon


class ContentBuilder:
    """Collects images and annotations.

    Args:
        classes: All class names in their order; None where the format has no list of them.
    """

    def __init__(self, classes: Sequence[str] | None = None) -> None:
        self.classes = classes
        self.remarks = Remarks()
        self._images: list[dict] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: list[str] = []

    def add_image(self, path: Path, stated: tuple[int, int] | None = None) -> dict:
        """Adds an image with the size that training sees.

        Args:
            path: The file.
            stated: (width, height) that the annotation file says, if it does.

        Returns:
            Its entry.

        Raises:
            UserError: When it cannot be read, or has another size than stated.
        """
        width, height = image_size(path)
        if stated and stated != (width, height):
            if stated != (height, width):
                raise UserError(
                    f"{path} has {width} x {height} pixels, but its annotations are made for "
                    f"{stated[0]} x {stated[1]}: use the images that were annotated, or export the "
                    "annotations again for these."
                )
            self.remarks.count("images whose width and height are stated exchanged", path)
        entry = {
            "id": len(self._images) + 1,
            "file_name": str(path.absolute()),
            "width": width,
            "height": height,
        }
        self._images.append(entry)
        return entry

    def add_box(
        self, image: dict, name: str, box: Sequence[float], where: str, **entries: Any
    ) -> dict:
        """Adds an object of a class, by its box ``[x, y, width, height]`` in pixels.

        Args:
            image: Its image's entry.
            name: Its class.
            box: Cut where it reaches up to a pixel over the edge.
            where: File and entry, for messages.
            entries: More of the annotation.

        Raises:
            UserError: When it reaches farther over the edge.
        """
        box = _box_within(image, box, where)
        return self._add(image, name, bbox=box, area=box[2] * box[3], **entries)

    def add_polygons(
        self,
        image: dict,
        name: str,
        polygons: Sequence[Sequence[float]],
        where: str,
        **entries: Any,
    ) -> dict:
        """Adds an object by its polygons ``[x1, y1, x2, y2, ...]``, with at least three points.

        The other arguments and the error are those of :meth:`add_box`.
        """
        size = image["width"], image["height"]
        polygons = [within_image(polygon, size, where) for polygon in polygons]
        return self._add(
            image,
            name,
            bbox=polygons_box(polygons),
            area=polygons_area(polygons, size),
            segmentation=polygons,
            **entries,
        )

    def add_mask(
        self,
        image: dict,
        name: str,
        mask: Any,
        where: str = "",
        box: Sequence[float] | None = None,
        **entries: Any,
    ) -> dict | None:
        """Adds an object by its mask (height, width); an empty one is left out.

        The box is that of the mask where none is given; see :meth:`add_box`.
        """
        if not mask.any():
            self.remarks.count("empty masks left out", image["file_name"])
            return None
        bbox = mask_box(mask) if box is None else _box_within(image, box, where)
        area, segmentation = int((mask > 0).sum()), encode_mask(mask > 0)
        return self._add(image, name, bbox=bbox, area=area, segmentation=segmentation, **entries)

    def content(self, order: Sequence[str] | None = None) -> dict:
        """The COCO content.

        Args:
            order: Class names that come first, in this order: those of the training data.
        """
        found = sorted(dict.fromkeys(self._names), key=natural)
        own = [*(self.classes or ()), *found]
        classes = list(dict.fromkeys([*(order or ()), *own]))
        ids = {name: number for number, name in enumerate(classes, start=1)}
        for annotation, name in zip(self._annotations, self._names, strict=True):
            annotation["category_id"] = ids[name]
        return {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": number, "name": name} for name, number in ids.items()],
        }

    def _add(self, image: dict, name: str, **entries: Any) -> dict:
        annotation = {
            "id": len(self._annotations) + 1,
            "image_id": image["id"],
            "category_id": None,  # known once all names are
            "iscrowd": 0,
            **entries,
        }
        self._annotations.append(annotation)
        self._names.append(name)
        return annotation


def _box_within(image: dict, box: Sequence[float], where: str) -> list[float]:
    x, y, width, height = box
    size = image["width"], image["height"]
    left, top, right, bottom = within_image([x, y, x + width, y + height], size, where)
    return [left, top, right - left, bottom - top]


def natural(name: str) -> tuple:
    """Sorting key of people: class 2 before class 10, upper and lower case alike."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(p) if i % 2 else p.casefold() for i, p in enumerate(parts)), name
