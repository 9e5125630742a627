"""Results as files: JSON, COCO, LabelMe, YOLO, CSV.

A writer takes the results one after another (``add``) and is a context; what it has been given is
in whole files when it ends, also where an error or a signal ends it early.
"""

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from convnext_dense.atomic_files import write_atomically
from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Result
from convnext_dense.inference.output.annotations import categories, to_yolo
from convnext_dense.inference.results import ClassificationResult, SegmentationResult

IMAGE = ["file_name", "frame", "seconds"]  # the first columns of every table
OBJECTS = ["class", "score", "left", "top", "right", "bottom", "mask_pixels"]
SHARES = ["class", "share"]
CLASSES = ["rank", "class", "probability"]


class Writer(ABC):
    """Writes results into a folder.

    Args:
        folder: An existing folder.
        classes: Class names of the model, by label.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.folder, self.classes = folder, classes

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    @abstractmethod
    def add(self, result: Result, stem: str) -> None:
        """Takes a result; ``stem`` names its files, and is another one for each image."""

    def close(self) -> None:
        """Writes what belongs to all results."""
        return  # by default nothing


class JsonWriter(Writer):
    """``predictions.json``: a list with :meth:`Result.to_dict` of every image."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        super().__init__(folder, classes)
        self.entries: list[dict[str, Any]] = []

    def add(self, result: Result, stem: str) -> None:
        """Takes a result."""
        self.entries.append(result.to_dict())

    def close(self) -> None:
        """Writes the file."""
        write_atomically(self.folder / "predictions.json", json.dumps(self.entries, indent=1))


class CocoWriter(Writer):
    """``annotations.json``: a file of COCO with images, categories and annotations.

    Images are numbered from 1 in their order; a video's frames are named ``NAME_000012.jpg``.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        super().__init__(folder, classes)
        self.content: dict[str, list[dict[str, Any]]] = dict(
            images=[], annotations=[], categories=categories(classes)
        )

    def add(self, result: Result, stem: str) -> None:
        """Takes a result."""
        number, found = len(self.content["images"]) + 1, self.content["annotations"]
        height, width = result.size
        image = dict(id=number, file_name=result.source.name, width=width, height=height)
        self.content["images"].append(image)
        for annotation in result.to_coco(number):
            found.append({"id": len(found) + 1, **annotation})

    def close(self) -> None:
        """Writes the file."""
        write_atomically(self.folder / "annotations.json", json.dumps(self.content))


class LabelmeWriter(Writer):
    """``NAME.json`` for each image, whose ``imagePath`` leads to the image where it has a file."""

    def add(self, result: Result, stem: str) -> None:
        """Writes the file of a result."""
        content = result.to_labelme()
        file = self.folder / f"{stem}.json"
        if result.source.path and "://" not in result.source.path:
            content["imagePath"] = os.path.relpath(result.source.path, file.parent)
        write_atomically(file, json.dumps(content, indent=1))


class YoloWriter(Writer):
    """``labels/NAME.txt`` for each image, and ``data.yaml`` with the class names."""

    def add(self, result: Result, stem: str) -> None:
        """Writes the file of a result."""
        file = self.folder / f"labels/{stem}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, "".join(f"{line}\n" for line in to_yolo(result)))

    def close(self) -> None:
        """Writes the class names."""
        names = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(self.classes))
        write_atomically(self.folder / "data.yaml", f"path: .\nnames:\n{names}")


class CsvWriter(Writer):
    """``predictions.csv``: a row for each object, area or probable class."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        super().__init__(folder, classes)
        self.text = io.StringIO()
        self.rows = csv.writer(self.text, lineterminator="\n")

    def add(self, result: Result, stem: str) -> None:
        """Takes a result."""
        header, rows = _table(result)
        if not self.text.tell():
            self.rows.writerow([*IMAGE, *header])
        source = result.source
        seconds = None if source.seconds is None else f"{source.seconds:.4f}"
        for row in rows:
            self.rows.writerow([source.name, source.frame, seconds, *row])

    def close(self) -> None:
        """Writes the file."""
        write_atomically(self.folder / "predictions.csv", self.text.getvalue())


def _table(result: Result) -> tuple[list[str], list[list[Any]]]:
    """The columns and the rows of a result, without what names the image."""
    if isinstance(result, ClassificationResult):
        ranked = enumerate(result.top(), start=1)
        return CLASSES, [[rank, name, f"{p:.6f}"] for rank, (name, p) in ranked]
    if isinstance(result, SegmentationResult):
        return SHARES, [[name, f"{share:.6f}"] for name, share in result.shares.items()]
    return OBJECTS, [
        [
            result.classes[region.label],
            None if region.score is None else f"{region.score:.6f}",
            *(f"{edge:.3f}" for edge in region.box),
            None if region.mask is None else int(region.mask.sum()),
        ]
        for region in result.regions()
    ]


FORMATS: dict[str, type[Writer]] = {
    "json": JsonWriter,
    "coco": CocoWriter,
    "labelme": LabelmeWriter,
    "yolo": YoloWriter,
    "csv": CsvWriter,
}


def open_writer(name: str, folder: Path, classes: tuple[str, ...], task: str) -> Writer:
    """The writer of a format.

    Raises:
        UserError: For a format of boxes and masks, and a classifier.
    """
    if task == "classification" and name not in ("json", "csv"):
        raise UserError(f"A classification has no boxes or masks for {name}: use json or csv.")
    return FORMATS[name](folder, classes)
