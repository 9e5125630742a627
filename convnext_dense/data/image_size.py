"""The size of an image as training reads it, from the header of its file alone."""

from pathlib import Path

from PIL import Image

from convnext_dense.data.images import read_image

ORIENTATION = 0x0112  # EXIF's entry
TURNED = range(5, 9)  # its values that exchange width and height


def shown_size(image: Image.Image) -> tuple[tuple[int, int], bool]:
    """(width, height) of an image that Pillow has opened, and whether its EXIF entry turns it."""
    turned = image.getexif().get(ORIENTATION) in TURNED
    exchange = turned and image.format != "TIFF"  # of which Pillow gives the turned size
    return (image.size[::-1] if exchange else image.size), turned


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as training reads it, turned as its EXIF entry says.

    Raises:
        UserError: When there is no such file, or it is no image.
    """
    try:
        with Image.open(path) as image:
            return shown_size(image)[0]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        height, width = read_image(path).shape[:2]  # what Pillow does not know, or the sentence
        return width, height
