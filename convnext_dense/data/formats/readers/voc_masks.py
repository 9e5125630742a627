"""VOC's SegmentationObject: a palette image whose value k is the k-th object, 255 the border."""

from pathlib import Path

import numpy as np
from PIL import Image

from convnext_dense.errors import UserError

BORDER = 255
PALETTE_BITS = 8


def object_masks(path: Path, objects: int, image: dict) -> dict[int, np.ndarray]:
    """The masks of the objects that a file holds, by their number from 1; none without a file.

    Args:
        path: The label image.
        objects: Number of objects of the XML file.
        image: Entry of the image, for its size.

    Raises:
        UserError: When it is no label image, or does not fit the image or the XML file.
    """
    if not path.is_file():
        return {}
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file)
            palette = file.getpalette() if file.mode == "P" else None
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}.") from error
    if pixels.ndim == 3:
        pixels = _indices_of_colours(path, pixels[..., :3])
    elif palette is None and pixels.dtype != np.uint8:
        raise UserError(f"{path} is no label image of 8 bits: save it with VOC's palette.")
    size = image["height"], image["width"]
    if pixels.shape != size:
        raise UserError(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, but its image "
            f"{size[1]} x {size[0]}: save the masks in the size of the image."
        )
    numbers = sorted(set(np.unique(pixels).tolist()) - {0, BORDER})
    if numbers and numbers[-1] > objects:
        raise UserError(
            f"{path} holds the object {numbers[-1]}, but its XML file has {objects}: the k-th "
            "object of the file is the value k of the mask; correct one of them."
        )
    return {number: pixels == number for number in numbers}


def voc_palette() -> list[int]:
    """VOC's 256 colours, red, green and blue of each: bits of the index from the highest down."""
    colours = []
    for index in range(256):
        colour = [0, 0, 0]
        for shift in range(PALETTE_BITS):
            for channel in range(3):
                bit = index >> (3 * shift + channel) & 1
                colour[channel] |= bit << (PALETTE_BITS - 1 - shift)
        colours += colour
    return colours


def _indices_of_colours(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Indices of an image that was saved in VOC's colours."""
    weights = np.array([65536, 256, 1])
    table = np.array(voc_palette()).reshape(-1, 3) @ weights
    codes = pixels.astype(int) @ weights
    order = np.argsort(table)
    places = np.searchsorted(table[order], codes).clip(0, 255)
    if (table[order][places] != codes).any():
        raise UserError(f"{path} holds colours that VOC's palette lacks: save it with indices.")
    return order[places]
