"""Pictures on disk: found, read and written, with a sentence where that fails."""

import os
from pathlib import Path

import cv2
import numpy as np

from convnext_dense.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture as BGR (height, width, 3).

    Raises:
        UserError: When there is no such file or it is not a whole picture.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no picture {path}.")
    content = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise UserError(f"{path} cannot be read as a picture: it is empty, cut off or no picture.")
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes a BGR picture.

    Raises:
        UserError: When it cannot be written.
    """
    if not cv2.imwrite(str(path), image):
        raise UserError(f"{path} cannot be written: is the disk full, or the folder protected?")


def find_images(path: str | os.PathLike) -> list[Path]:
    """The picture itself, or every picture in a folder, sorted.

    Raises:
        UserError: When there is none.
    """
    path = Path(path)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise UserError(f"{path} holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
        return images
    if not path.is_file():
        raise UserError(f"There is no picture or folder {path}.")
    return [path]
