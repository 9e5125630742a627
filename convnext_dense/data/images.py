"""Images on disk: found, read and written, with a sentence where that fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from convnext_dense.data.bands.reading import (
    PLAIN,
    RGB,
    Bands,
    Reading,
    decode_bands,
    decode_more,
    measured_range,
    scale,
    shown,
)
from convnext_dense.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_image(path: str | os.PathLike, reading: Reading = PLAIN) -> np.ndarray:
    """Reads an image as a model takes it, turned as its EXIF entry says.

    By default as BGR uint8 (height, width, 3): grey, palette and CMYK become colours, transparency
    is left out, of more bands the first three are read, and other types than 8 bits are scaled by
    the range that the image declares or has. What is left out or scaled is said once.

    Args:
        path: The file.
        reading: That of a model for other images. Three channels are blue, green, red; other
            numbers have the file's order.

    Raises:
        UserError: When there is no such file, it is not a whole image, or does not fit.
    """
    return decode_image(_content(path), str(path), reading)


def decode_image(content: bytes, name: str, reading: Reading = PLAIN) -> np.ndarray:
    """Decodes a file's content as :func:`read_image` does.

    Args:
        content: The whole file.
        name: Its name for the message.
        reading: See there.

    Raises:
        UserError: When it is not a whole image, or does not fit.
    """
    with _explaining(name):
        bands = decode_more(content, name) if reading.is_plain else decode_bands(content, name)
        if bands is None:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            return _whole(image, name)
    image = reading.of_bands(bands, name)
    return image[..., ::-1].copy() if reading.channels == RGB else image


def read_bands(path: str | os.PathLike) -> Bands:
    """All that an image file holds, in its own type.

    Raises:
        UserError: When there is no such file, or it is not a whole image.
    """
    content, name = _content(path), str(path)
    with _explaining(name):
        return _whole(decode_bands(content, name), name)


def read_shown(path: str | os.PathLike) -> np.ndarray:
    """An image for people, RGB uint8 (height, width, 3), whatever its bands and its type."""
    bands = read_bands(path)
    pixels = bands.pixels if bands.pixels.shape[2] > 4 else bands.colours
    if pixels.dtype != np.uint8:
        pixels = scale(pixels, bands.declared or measured_range([pixels], str(path)), str(path))
    return shown(pixels)


def _content(path: str | os.PathLike) -> bytes:
    if not Path(path).is_file():
        raise UserError(f"There is no image {path}.")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image: {_reason(error)}.") from error


@contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Turns a decoder's complaint into a sentence, of too many pixels or a broken file."""
    try:
        yield
    except UserError:
        raise
    except (cv2.error, OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{name} cannot be read as an image: {_reason(error)}.") from error


def _whole(image: Any, name: str) -> Any:
    if image is None:
        raise UserError(f"{name} cannot be read as an image: it is empty, cut off or no image.")
    return image


def _reason(error: Exception) -> str:
    text = error.err if isinstance(error, cv2.error) and error.err else str(error)
    return " ".join(text.split()).rstrip(".")


@contextmanager
def explaining_opencv(image: str) -> Iterator[None]:
    """Turns OpenCV's complaint about an image into a sentence that names it.

    A side of a thin image rounds to no pixel where it is resized with its proportions.

    Raises:
        UserError: For what OpenCV cannot do.
    """
    try:
        yield
    except cv2.error as error:
        raise UserError(
            f"{image} cannot be resized or cut as the config says; most often it is too thin, "
            f"and a side of it comes out at no pixel: leave it out or cut it into parts "
            f"(OpenCV: {_reason(error)})."
        ) from error


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes a BGR image.

    Raises:
        UserError: When it cannot be written.
    """
    if not cv2.imwrite(str(path), image):
        raise UserError(f"{path} cannot be written: is the disk full, or the folder protected?")


def find_images(path: str | os.PathLike) -> list[Path]:
    """The image itself, or every image in a folder, sorted.

    Raises:
        UserError: When there is none.
    """
    path = Path(path)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise UserError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
        return images
    if not path.is_file():
        raise UserError(f"There is no image or folder {path}.")
    return [path]
