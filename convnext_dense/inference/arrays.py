"""Images in memory as RGB arrays: numpy, Pillow and torch, or a sentence on what does not fit."""

from typing import TYPE_CHECKING, Any

import numpy as np

from convnext_dense.data.bands.reading import PLAIN, RGB, Bands, Reading
from convnext_dense.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

BANDS = ("L", "LA", "RGB", "RGBA")  # Pillow's modes whose channels a model may have
TAKEN = "uint8, uint16, or float from 0 to 1, of (height, width), or with 1, 3 or 4 channels last"


def from_array(
    array: np.ndarray, what: str, bgr: bool = False, reading: Reading = PLAIN
) -> np.ndarray:
    """A copy of an image as RGB, uint8 (height, width, 3), or as its model reads others.

    Grey is repeated, a fourth channel (transparency) is left out, 16 bits are scaled by the range
    that sensors have, and floats from 0 to 1 to 0 to 255. It is a copy, since cameras and
    generators write their next image into the same memory.

    Args:
        array: (height, width), or (height, width, channels) with 1, 3 or 4 channels, or those of
            the model.
        what: The image's name for the message.
        bgr: The channels are blue, green, red, as OpenCV reads them.
        reading: The model's; values are those of its files.

    Raises:
        UserError: For another type or shape, or floats out of that range.
    """
    pixels = _three_axes(array, what, reading.channels)
    if bgr and pixels.shape[2] in (3, 4):
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    if reading.value_range is None:
        pixels = _checked(pixels, what)
    if reading.channels == RGB:
        pixels = pixels[..., :RGB]
    return np.array(reading.of_bands(Bands(pixels), what), order="C")


def from_pillow(image: "Image.Image", what: str, reading: Reading = PLAIN) -> np.ndarray:
    """An image of Pillow as :func:`from_array` gives it, turned as its EXIF entry says.

    Raises:
        UserError: For an image that cannot be read, or of a mode that is no image's.
    """
    from PIL import ImageOps  # whoever has such an image has Pillow

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            return from_array(np.asarray(image).astype(np.uint16), what, reading=reading)
        if image.mode in ("I", "F") or (not reading.is_plain and image.mode in BANDS):
            return from_array(np.asarray(image), what, reading=reading)
        return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{what} cannot be read as an image: {error}.") from error


def from_tensor(
    tensor: Any, what: str, bgr: bool = False, reading: Reading = PLAIN
) -> list[np.ndarray]:
    """The images of a torch tensor (3, height, width), or of a batch (n, 3, height, width).

    Raises:
        UserError: As :func:`from_array`, and for channels that do not come first.
    """
    array = tensor.detach().cpu()
    array = (array.float() if array.dtype.is_floating_point else array).numpy()
    batch = array if array.ndim == 4 else array[None]
    if array.ndim not in (3, 4) or batch.shape[1] not in _counts(reading):
        raise UserError(
            f"{what} is a tensor of {_form(array)}: a tensor has its channels first, (3, height, "
            "width) or (n, 3, height, width)."
        )
    names = [what] if array.ndim == 3 else [f"{what}[{i}]" for i in range(len(batch))]
    return [
        from_array(one.transpose(1, 2, 0), name, bgr, reading)
        for one, name in zip(batch, names, strict=True)
    ]


def _counts(reading: Reading) -> tuple[int, ...]:
    """Numbers of channels that an image in memory may have."""
    return (1, 3, 4) if reading.channels == RGB else (reading.channels, 1, 3, 4)


def _three_axes(array: np.ndarray, what: str, channels: int) -> np.ndarray:
    own = array.shape[2] if array.ndim == 3 else 1
    if array.ndim in (2, 3) and own in (1, 3, 4, channels) and min(array.shape) > 0:
        return array.reshape(*array.shape[:2], own)
    hint = ""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4, channels):
        hint = " Its channels come first: give array.transpose(1, 2, 0)."
    elif array.ndim == 4:
        hint = " Several images are given as a list: list(array)."
    raise UserError(f"{what} is an array of {_form(array)}; an image is {TAKEN}.{hint}")


def _checked(array: np.ndarray, what: str) -> np.ndarray:
    """Pixels of a type whose range is known without a model's."""
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{what} is an array of {_form(array)}; an image is {TAKEN}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also where there is a nan
        raise UserError(
            f"{what} is an array of {_form(array)} with values from {low:.4g} to {high:.4g}; "
            f"an image is {TAKEN}."
        )
    return np.rint(array * 255).astype(np.uint8)


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
