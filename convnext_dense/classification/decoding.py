"""Turning a file into RGB pixels: Pillow, or another JPEG decoder where one is asked for.

The others are PyTurboJPEG and torchcodec. Their pixels were equal to Pillow's on every picture
tried (docs/results.md), and what they do not decode without complaint is left to Pillow: the same
pictures count as damaged, whichever decoder reads them.
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
    """The function that decodes a file with ``pillow``, ``turbojpeg`` or ``torchcodec``.

    Raises:
        UserError: For an unknown name, or a package that is not installed or does not work here.
    """
    if name == "pillow":
        return pillow
    if name not in FAST:
        known = ", ".join(["pillow", *FAST])
        raise UserError(f"There is no picture decoder {name!r}: choose one of {known}.")
    decode, module, package = FAST[name]
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"The decoder {name!r} needs {package}: install it, or use decoder='pillow'."
        )
    try:
        decode.prepare()
    except Exception as error:  # a missing system library, a version for another torch
        raise UserError(
            f"{package} is installed but does not work here ({error}): mend it, or use "
            "decoder='pillow'."
        ) from error
    return decode


def pillow(file: BinaryIO) -> Image.Image:
    """Decodes any format that Pillow knows; of 16 bits the upper 8.

    Raises:
        OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError: For damaged files.
    """
    with Image.open(file) as image:
        if image.mode.startswith("I;16"):  # convert would make all above 255 white
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")  # decodes, which is where damage shows


class FastJpeg:
    """Decodes RGB and grey JPEGs by a library, everything else by Pillow.

    Args:
        load: Imports the library and returns its function from bytes to RGB, (H, W, 3) uint8.
    """

    def __init__(self, load: Callable[[], Callable[[bytes], np.ndarray]]) -> None:
        # Cached, not kept: the object travels to worker processes, a C library's handle does not.
        self.prepare = load

    def __call__(self, file: BinaryIO) -> Image.Image:
        """Decodes one file. Raises what :func:`pillow` raises."""
        with Image.open(file) as image:  # reads the header only, and refuses gigantic sizes
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                file.seek(0)
                try:
                    return Image.fromarray(self.prepare()(file.read()))
                except (OSError, RuntimeError, ValueError, Warning):
                    pass  # Pillow decides
        file.seek(0)
        return pillow(file)


@cache
def _turbojpeg() -> Callable[[bytes], np.ndarray]:
    import turbojpeg

    library = turbojpeg.TurboJPEG()

    def decode(data: bytes) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # all that PyTurboJPEG says of a truncated file
            return library.decode(data, pixel_format=turbojpeg.TJPF_RGB)

    return decode


@cache
def _torchcodec() -> Callable[[bytes], np.ndarray]:
    from torchcodec.decoders import decode_jpeg

    return lambda data: decode_jpeg(data, mode="RGB").permute(1, 2, 0).numpy()


# Decoder, its module, and what to install.
FAST: dict[str, tuple[FastJpeg, str, str]] = {
    "turbojpeg": (FastJpeg(_turbojpeg), "turbojpeg", "PyTurboJPEG and libturbojpeg"),
    "torchcodec": (FastJpeg(_torchcodec), "torchcodec", "torchcodec 0.16 or newer"),
}
