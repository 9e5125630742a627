"""Hugging Face datasets on disk. Importing this module needs the package ``datasets``."""

import io
from pathlib import Path
from typing import BinaryIO

import datasets
from timm.data.readers.reader import Reader

from convnext_dense.errors import UserError

PICTURE, LABEL = "image", "label"


class HuggingFaceReader(Reader):
    """A dataset of the columns ``image`` and ``label``, saved by ``save_to_disk`` or as parquet.

    timm's own reader takes names and parquet folders, but not what ``save_to_disk`` writes.

    Args:
        root: Folder of one split.

    Attributes:
        classes: Names of the labels.

    Raises:
        UserError: When the folder is no such dataset.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root
        self.data = _load(root)
        features = self.data.features
        if PICTURE not in features or not isinstance(features.get(LABEL), datasets.ClassLabel):
            raise UserError(
                f"{root} needs the columns {PICTURE} and {LABEL} (a ClassLabel); it has "
                f"{', '.join(features)}."
            )
        self.classes = tuple(features[LABEL].names)
        # Bytes: decoding, and what happens when it fails, is the data set's affair.
        self.data = self.data.cast_column(PICTURE, datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        row = self.data[index]
        content, path = row[PICTURE]["bytes"], row[PICTURE]["path"]
        return (io.BytesIO(content) if content else open(path, "rb")), row[LABEL]

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        name = self.data[index][PICTURE]["path"] or ""
        return f"{self.root}: row {index}" + (f" ({name})" if name else "")


def _load(root: str) -> datasets.Dataset:
    try:
        if (Path(root) / "state.json").is_file():
            return datasets.load_from_disk(root)
        files = sorted(map(str, Path(root).rglob("*.parquet")))
        return datasets.Dataset.from_parquet(files)
    except (FileNotFoundError, ValueError, IndexError) as error:
        raise UserError(
            f"{root} is no Hugging Face dataset on disk ({error}): give the folder of one split, "
            "written by save_to_disk or holding .parquet files."
        ) from error
