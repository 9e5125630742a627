"""Boxes or masks that do not fit their image: is it the size that is wrong?

An image that its EXIF entry turns has width and height exchanged, and one that was resized after it
was annotated has others. Either puts good boxes outside of the stated size.
"""

import os
from typing import NamedTuple

from PIL import Image

from convnext_dense.data.coco.findings import DoesNotFit
from convnext_dense.data.image_size import shown_size
from convnext_dense.errors import UserError

LOOKED_AT = 20  # images
EDGE = 1  # pixels that a box may reach over the edge


class Looked(NamedTuple):
    """An image as its file shows it: (width, height) in training, as stated, turned by EXIF."""

    size: tuple[int, int]
    stated: tuple[int, int]
    turned: bool


def explain_misfit(error: DoesNotFit, path: str, folder: str) -> UserError:
    """The better sentence where images have another size than the file says, else the same error.

    Args:
        error: What the check of the boxes found.
        path: The COCO file.
        folder: Where its images are.
    """
    looked = _look(error, folder)
    wrong = {name: one for name, one in looked.items() if one.size != one.stated}
    if not wrong:
        return error
    name, first = next(iter(wrong.items()))
    why = " (its EXIF entry turns it)" if first.turned else ""
    mend = "correct width and height in the file, and the boxes that do not fit then"
    exchanged = all(one.size == one.stated[::-1] for one in wrong.values())
    if exchanged and _all_fit(error, looked):
        mend = "the boxes fit the images as they are: exchange width and height in the file"
    return UserError(
        f"{path} states a wrong size for {len(wrong)} of {len(looked)} opened images whose "
        f"boxes or masks do not fit: {os.path.join(folder, name)} has {_format(first.size)}{why} "
        f"and not {_format(first.stated)}: {mend}."
    )


def _look(error: DoesNotFit, folder: str) -> dict[str, Looked]:
    """The first images of boxes outside, those that can be read, by name."""
    looked = {}
    for entry in {image["file_name"]: image for image in error.images}.values():
        try:
            with Image.open(os.path.join(folder, entry["file_name"])) as image:
                size, turned = shown_size(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # said by the check that opens images
        looked[entry["file_name"]] = Looked(size, (entry["width"], entry["height"]), turned)
        if len(looked) == LOOKED_AT:
            break
    return looked


def _all_fit(error: DoesNotFit, looked: dict[str, Looked]) -> bool:
    """Whether the boxes that reach outside of the stated size are inside of the images."""
    for annotation, image in zip(error.annotations, error.images, strict=True):
        if image["file_name"] in looked:
            x, y, width, height = annotation["bbox"]
            right, bottom = looked[image["file_name"]].size
            if min(x, y) < -EDGE or x + width > right + EDGE or y + height > bottom + EDGE:
                return False
    return True


def _format(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
