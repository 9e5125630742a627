"""Refusals of a file that could be mended name the flags that do it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.coco.find_images import check_images_exist
from convnext_dense.data.mending.mend import mend
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import MissingDataError, UserError


@contextmanager
def offering_to_mend(
    path: str, folder: str, classes: Sequence[str] | None = None
) -> Iterator[None]:
    """Adds ``--train-json`` and ``--val-json`` to a refusal, where they would help.

    Args:
        path: The COCO file that a config names.
        folder: The folder of its images.
        classes: Class names of the training data; None for these themselves.
    """
    try:
        yield
    except MissingDataError:
        raise
    except UserError as error:
        if not _can_be_mended(path, folder, classes):
            raise
        raise UserError(
            f"{error} Named by --train-json or --val-json, with --images {folder}, the file is "
            "mended into a copy."
        ) from error


def _can_be_mended(path: str, folder: str, classes: Sequence[str] | None) -> bool:
    try:
        mended = mend(read_json(path), path, Path(folder), classes)
        check_coco(path, mended.content)
        names = [image["file_name"] for image in mended.content["images"]]
        check_images_exist(path, folder, names)
    except UserError:
        return False
    return bool(mended.rows)
