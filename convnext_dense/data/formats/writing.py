"""Annotations in COCO's form, written in another: a whole folder, or none."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from convnext_dense.data.formats.names import WRITTEN_FORMATS
from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.formats.writers.split import (
    copy_image,
    make_splits,
    put_image,
    writing_folder,
)
from convnext_dense.errors import UserError

ONE_FOLDER = ("voc",)  # formats whose images of all splits lie in one folder


def write(contents: Mapping[str, dict], target: Path, to: str, copy: bool = False) -> list[str]:
    """Writes a dataset.

    Args:
        contents: Each split in COCO's form, as :func:`convnext_dense.data.formats.reading.read`
            gives it.
        target: The folder, new or empty.
        to: Its format, out of ``WRITTEN_FORMATS``.
        copy: Copy the images; else they are hard links where they lie on the same disk.

    Returns:
        What the format cannot hold, a line each.

    Raises:
        UserError: When the target is there, or the format cannot hold the data.
    """
    if to not in WRITTEN_FORMATS:
        raise UserError(f"There is no format {to!r}: {', '.join(WRITTEN_FORMATS)} are written.")
    remarks = Remarks()
    writer = import_module(f"convnext_dense.data.formats.writers.{to}")
    with writing_folder(target) as folder:
        place = copy_image if copy else put_image
        writer.write(folder, make_splits(contents, to in ONE_FOLDER), place, remarks)
    return remarks.lines
