"""PNGs of segments: the id of the segment that a pixel belongs to is its colour.

COCO's format: id = red + 256 green + 65536 blue, and 0 belongs to no segment.
"""

import os
from pathlib import Path

import cv2
import numpy as np

from convnext_dense.data.images import write_image
from convnext_dense.errors import UserError

VOID = 0  # the id of pixels that belong to no segment
MOST_IDS = 256**3


def read_segments(path: str | os.PathLike) -> np.ndarray:
    """The id of each pixel's segment, int32 (height, width).

    Raises:
        UserError: When there is no such file, or it is no image of 8-bit colours.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no PNG of segments {path}.")
    colours = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if colours is None:
        raise UserError(f"{path} cannot be read as a PNG of segments: copy it again.")
    if colours.ndim != 3 or colours.dtype != np.uint8:
        raise UserError(
            f"{path} is no PNG of segments: it needs 8-bit colours, of which red + 256 green + "
            "65536 blue is the id of a segment (a grey image of labels says no instances)."
        )
    blue, green, red = (colours[..., channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 65536 * blue


def write_segments(path: Path, ids: np.ndarray) -> None:
    """Writes ids (height, width) as a PNG.

    Raises:
        UserError: When it cannot be written.
    """
    channels = [ids // 65536, ids // 256 % 256, ids % 256]
    write_image(path, np.stack(channels, axis=-1).astype(np.uint8))
