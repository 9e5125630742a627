"""Decoding image files to RGB, by Pillow or by an optional faster JPEG decoder.

The optional decoders are PyTurboJPEG and torchcodec. Their pixels were equal to Pillow's on each
tested image (docs/results.md). If they fail or warn, Pillow decodes the image, so each decoder
finds the same images damaged.
"""

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image

from convnext_dense.errors import UserError


def open_decoder(name: str) -> Callable[[BinaryIO], Image.Image]:
    """Returns a function that decodes a file by ``pillow``, ``turbojpeg`` or ``torchcodec``.

    Raises:
        UserError: For an unknown name, or a package that is not installed or does not work here.
    """
    if name == "pillow":
        return decode_by_pillow
    if name not in JPEG_DECODERS:
        known = ", ".join(["pillow", *JPEG_DECODERS])
        raise UserError(f"There is no image decoder {name!r}: choose one of {known}.")
    decoder, module, package = JPEG_DECODERS[name]
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"The decoder {name!r} needs {package}: install it, or use decoder='pillow'."
        )
    try:
        decoder.load()
    except Exception as error:  # such as a missing system library, or a build for another torch
        raise UserError(
            f"{package} is installed but does not work here ({error}): repair it, or use "
            "decoder='pillow'."
        ) from error
    return decoder


def decode_by_pillow(file: BinaryIO) -> Image.Image:
    """Decodes any format that Pillow reads; of 16-bit images the upper 8 bits.

    Raises:
        OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError: For damaged files.
    """
    with Image.open(file) as image:
        if image.mode.startswith("I;16"):  # convert() would turn all values above 255 white
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")  # decodes the image, so damaged files raise here


class FastJpeg:
    """Decodes RGB and grey JPEGs by a library, and all other files by Pillow.

    Args:
        load: Function that imports the library and returns its decoder from bytes to RGB, (H, W, 3)
            uint8. It is cached and not called here, since a C library's handle cannot be sent to
            worker processes.
    """

    def __init__(self, load: Callable[[], Callable[[bytes], np.ndarray]]) -> None:
        self.load = load

    def __call__(self, file: BinaryIO) -> Image.Image:
        """Decodes one file. Raises what :func:`decode_by_pillow` raises."""
        with Image.open(file) as image:  # reads the header only, and refuses very large images
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                file.seek(0)
                try:
                    return Image.fromarray(self.load()(file.read()))
                except (OSError, RuntimeError, ValueError, Warning):
                    pass  # Pillow decodes it, or raises
        file.seek(0)
        return decode_by_pillow(file)


@cache
def _turbojpeg() -> Callable[[bytes], np.ndarray]:
    import turbojpeg

    library = turbojpeg.TurboJPEG()

    def decode(data: bytes) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # PyTurboJPEG only warns about a truncated file
            return library.decode(data, pixel_format=turbojpeg.TJPF_RGB)

    return decode


@cache
def _torchcodec() -> Callable[[bytes], np.ndarray]:
    from torchcodec.decoders import decode_jpeg

    return lambda data: decode_jpeg(data, mode="RGB").permute(1, 2, 0).numpy()


# Name -> decoder, its module, and the packages to install.
JPEG_DECODERS: dict[str, tuple[FastJpeg, str, str]] = {
    "turbojpeg": (FastJpeg(_turbojpeg), "turbojpeg", "PyTurboJPEG and libturbojpeg"),
    "torchcodec": (FastJpeg(_torchcodec), "torchcodec", "torchcodec 0.16 or newer"),
}
