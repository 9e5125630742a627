"""Images that a csv file lists, with one class each."""

import csv
import os
from typing import BinaryIO

from timm.data.readers.reader import Reader

from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

COLUMNS = ["file_name", "label"]


class ListReader(Reader):
    """The images of a csv file with the columns ``file_name`` and ``label``.

    Args:
        root: The csv file; its names are full paths, or relative to its folder.

    Attributes:
        samples: Path and label of each image.
        classes: The class names, sorted: label 0, 1, ...

    Raises:
        UserError: If it is no such file.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        header, *rows = [*csv.reader(read_text(root).splitlines())] or [[]]
        if header != COLUMNS or any(len(row) != len(COLUMNS) for row in rows) or not rows:
            raise UserError(
                f"{root} is no list of images: it needs the columns {' and '.join(COLUMNS)}, and a "
                "row for each image."
            )
        self.classes = tuple(sorted({name for _, name in rows}))
        labels = {name: label for label, name in enumerate(self.classes)}
        folder = os.path.dirname(root)
        self.samples = [(os.path.join(folder, path), labels[name]) for path, name in rows]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        path, label = self.samples[index]
        return open(path, "rb"), label

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        return self.samples[index][0]
