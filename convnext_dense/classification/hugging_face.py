"""Hugging Face datasets on disk. Importing this module needs the package ``datasets``."""

import io
from pathlib import Path
from typing import BinaryIO

import datasets
from timm.data.readers.reader import Reader

from convnext_dense.errors import UserError

IMAGE, LABEL = "image", "label"


class HuggingFaceReader(Reader):
    """A dataset of the columns ``image`` and ``label``, saved by ``save_to_disk`` or as parquet.

    timm's reader reads datasets by name and parquet folders, but not ``save_to_disk`` folders.

    Args:
        root: Folder of one split.

    Attributes:
        classes: Class names in the order of the labels.

    Raises:
        UserError: If the folder is not such a dataset.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root
        self.data = _load(root)
        features = self.data.features
        if IMAGE not in features or not isinstance(features.get(LABEL), datasets.ClassLabel):
            raise UserError(
                f"{root} needs the columns {IMAGE} and {LABEL} (a ClassLabel); it has "
                f"{', '.join(features)}."
            )
        self.classes = tuple(features[LABEL].names)
        # Read bytes: the dataset decodes them and handles failures.
        self.data = self.data.cast_column(IMAGE, datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        row = self.data[index]
        content, path = row[IMAGE]["bytes"], row[IMAGE]["path"]
        return (io.BytesIO(content) if content else open(path, "rb")), row[LABEL]

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        name = self.data[index][IMAGE]["path"] or ""
        return f"{self.root}: row {index}" + (f" ({name})" if name else "")


def _load(root: str) -> datasets.Dataset:
    try:
        if (Path(root) / "state.json").is_file():
            return datasets.load_from_disk(root)
        files = sorted(map(str, Path(root).rglob("*.parquet")))
        return datasets.Dataset.from_parquet(files)
    except (FileNotFoundError, ValueError, IndexError) as error:
        raise UserError(
            f"{root} is not a Hugging Face dataset on disk ({error}): give the folder of one "
            "split, written by save_to_disk or with .parquet files."
        ) from error
