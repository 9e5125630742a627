"""An image as an exported network takes it: resized, cropped, padded."""

from dataclasses import dataclass

import cv2
import numpy as np

from convnext_dense.errors import UserError
from convnext_dense.exported.description import Description, Resizing
from convnext_dense.exported.pillow_resize import FILTERS, pillow_resize

LEAST_SIDE = 32  # the largest stride of a backbone: runtimes compute nonsense below it


@dataclass(frozen=True)
class Prepared:
    """An image as a network takes it.

    Attributes:
        pixels: float32 (channels, height, width), on the scale of 8 bits, padded with the mean.
        size: Height and width without padding.
        original: Height and width of the image itself.
        scale: Factors of the height and of the width, from the image to the network's input.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    original: tuple[int, int]
    scale: tuple[float, float]


def prepare(image: np.ndarray, name: str, description: Description) -> Prepared:
    """Prepares an image.

    Args:
        image: (height, width, channels): RGB, or the bands that the model has channels for.
        name: Of the image, for the message.
        description: Of the model.

    Raises:
        UserError: For an image that becomes nothing, such as one of 1 x 4000 pixels.
    """
    original = image.shape[:2]
    resizing = description.resizing
    height, width = _size(original, resizing, description.fixed)
    if min(height, width) < 1:
        raise UserError(
            f"{name} ({original[1]} x {original[0]} pixels) is too thin: resized for the model it "
            f"has {width} x {height} pixels."
        )
    pixels = _resize(image, width, height, resizing)
    scale = (height / original[0], width / original[1])
    if resizing.crop is not None:
        pixels = _centre(pixels, resizing.crop)
    size = pixels.shape[:2]
    return Prepared(_pad(pixels, description), size, original, scale)


def check_size(prepared: Prepared, name: str) -> Prepared:
    """The prepared image, if it is large enough for a network.

    Raises:
        UserError: For one that is smaller than a position of the last feature map.
    """
    height, width = prepared.pixels.shape[1:]
    if min(height, width) < LEAST_SIDE:
        raise UserError(
            f"{name} ({prepared.original[1]} x {prepared.original[0]} pixels) is too thin or too "
            f"small: it becomes an input of {width} x {height} pixels, and the network needs at "
            f"least {LEAST_SIDE} x {LEAST_SIDE}."
        )
    return prepared


def _size(
    original: tuple[int, int], resizing: Resizing, fixed: tuple[int, int] | None
) -> tuple[int, int]:
    """Height and width after resizing."""
    height, width = original
    if resizing.kind == "stretch":
        return resizing.size[1], resizing.size[0]
    if resizing.kind == "short_side":
        side, (short, long) = resizing.size[0], sorted(original)
        other = int(side * long / short)
        return (side, other) if height <= width else (other, side)
    factor = 1.0
    if resizing.kind == "inside":
        long, short = max(resizing.size), min(resizing.size)
        factor = min(long / max(original), short / min(original))
    if fixed is not None:
        factor = min(factor, fixed[0] / height, fixed[1] / width)
    if factor == 1.0 and resizing.kind == "none":
        return height, width
    return int(height * float(factor) + 0.5), int(width * float(factor) + 0.5)


def _resize(image: np.ndarray, width: int, height: int, resizing: Resizing) -> np.ndarray:
    if (height, width) == image.shape[:2]:
        return image
    if resizing.filter in FILTERS:
        return pillow_resize(image, width, height, resizing.filter, resizing.columns_first)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(height, width, -1)


def _centre(image: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """The middle of an image, with black beside it where it is smaller, as torchvision's."""
    height, width = image.shape[:2]
    missing = max(0, crop[0] - height), max(0, crop[1] - width)
    if any(missing):
        before = [side // 2 for side in missing]
        after = [(side + 1) // 2 for side in missing]
        image = np.pad(image, [*zip(before, after, strict=True), (0, 0)])
        height, width = image.shape[:2]
    top, left = (round((have - want) / 2) for have, want in zip((height, width), crop, strict=True))
    return image[top : top + crop[0], left : left + crop[1]]


def _pad(image: np.ndarray, description: Description) -> np.ndarray:
    """The image as (channels, height, width), padded to what the graph takes."""
    height, width = image.shape[:2]
    divisor = description.divisor
    full = description.fixed or (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
    mean = np.array(description.mean, np.float32).reshape(-1, 1, 1)
    padded = np.empty((len(mean), *full), np.float32)
    padded[:] = mean
    padded[:, :height, :width] = image.transpose(2, 0, 1)
    return padded
