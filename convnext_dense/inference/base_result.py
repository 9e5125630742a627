"""What the results of every task have in common: an image, class names, ways out."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from convnext_dense.browse.style import class_colours
from convnext_dense.data.images import write_image
from convnext_dense.errors import UserError
from convnext_dense.inference.sources import SourceImage


@dataclass(frozen=True)
class Legend:
    """The classes of a model and their colours.

    Attributes:
        names: Class names, by label.
        palette: RGB of each class as the training data brought it; None for colours far apart.
    """

    names: tuple[str, ...]
    palette: Sequence[Sequence[int]] | None = None

    @cached_property
    def colours(self) -> np.ndarray:
        """RGB, uint8 (classes, 3)."""
        if self.palette is not None and len(self.palette) == len(self.names):
            return np.array(self.palette, np.uint8).reshape(-1, 3)
        return class_colours(len(self.names))


@dataclass(frozen=True)
class Region:
    """An object or an area of one class, as formats of annotation tools know it.

    Attributes:
        label: Index of the class.
        score: From 0 to 1; None where there is none.
        box: Left, top, right, bottom in pixels of the image.
        mask: bool (height, width); None where only the box is known.
    """

    label: int
    score: float | None
    box: tuple[float, float, float, float]
    mask: np.ndarray | None


# Path -> the image whose drawing this process has saved there: its file, or itself in memory.
_SAVED: "dict[Path, str | weakref.ref[SourceImage]]" = {}


def _short(value: Any) -> str:
    return f"[{len(value)}]" if isinstance(value, list | dict) else repr(value)


@dataclass(frozen=True, eq=False, repr=False)
class Result(ABC):
    """What was found in one image.

    Attributes:
        source: The image: ``array`` (RGB), ``name``, ``path``, and of a video ``frame`` and
            ``seconds``.
        legend: Class names and colours.
    """

    source: SourceImage
    legend: Legend

    def __repr__(self) -> str:
        found = ", ".join(f"{key}={_short(value)}" for key, value in self.describe().items())
        height, width = self.size
        return f"{type(self).__name__}({self.source.name}, {width} x {height}, {found})"

    @property
    def image(self) -> np.ndarray:
        """The image as people see it, RGB uint8 (height, width, 3)."""
        return self.source.shown

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.source.array.shape[:2]

    @property
    def classes(self) -> tuple[str, ...]:
        """All class names of the model, by label."""
        return self.legend.names

    @abstractmethod
    def draw(self) -> np.ndarray:
        """A copy of the image with the result drawn into it, RGB uint8 (height, width, 3)."""

    @abstractmethod
    def regions(self) -> "list[Region]":
        """The objects or areas, one after another.

        Raises:
            UserError: For a classification, which has none.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The result in plain numbers, without the image's name."""

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``predictions.json``; docs/predict.md lists its keys."""
        frame = {} if self.source.frame is None else {"frame": self.source.frame}
        if frame:
            frame["seconds"] = round(self.source.seconds, 4)
        return {"file_name": self.source.name, **frame, **self.describe()}

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Annotations in COCO's format, see :mod:`convnext_dense.inference.output.annotations`.

        Args:
            image_id: The image's ``id`` in the annotation file.
        """
        from convnext_dense.inference.output.annotations import to_coco

        return to_coco(self, image_id)

    def to_labelme(self) -> dict[str, Any]:
        """The content of a file of LabelMe."""
        from convnext_dense.inference.output.annotations import to_labelme

        return to_labelme(self)

    def save(self, folder: str | Path) -> Path:
        """Draws the result into a file of a folder, and writes what is a file of its own beside it.

        Returns:
            The drawing's path: ``NAME.jpg``, of a video's frame ``NAME_000012.jpg``; with a number
            where this process has saved another image of that name there.

        Raises:
            UserError: When the folder cannot be written.
        """
        from convnext_dense.atomic_files import make_folder

        path = self._free_path(Path(folder))
        if self.source.path and path.resolve() == Path(self.source.path).resolve():
            raise UserError(f"{path} would overwrite the image itself: name another folder.")
        make_folder(Path(folder))
        write_image(path, cv2.cvtColor(self.draw(), cv2.COLOR_RGB2BGR))
        self.write_files(path.with_suffix(""))
        return path

    def _free_path(self, folder: Path) -> Path:
        frame = "" if self.source.frame is None else f"_{self.source.frame:06d}"
        stem = f"{Path(self.source.name).stem}{frame}"
        path, number = folder.absolute() / f"{stem}.jpg", 1
        while path in _SAVED and not self._is_of(_SAVED[path]):
            number += 1
            path = folder.absolute() / f"{stem}_{number}.jpg"
        _SAVED[path] = self.source.path or weakref.ref(self.source)
        return folder / path.name

    def _is_of(self, saved: "str | weakref.ref[SourceImage]") -> bool:
        if isinstance(saved, str):
            return saved == self.source.path
        return saved() is self.source

    def write_files(self, stem: Path) -> None:
        """Writes the files that belong to a result beside its description."""
        return  # by default none
