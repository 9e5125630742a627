"""How a model reads images: the number of its channels, and the range of their values.

A model for 8-bit colours reads as it always did. Others get ``float32`` on the scale of 8 bits, so
that no step loses what the file has.
"""

import math
import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from convnext_dense.data.bands.tiff import decode_tiff, read_tags
from convnext_dense.errors import UserError
from convnext_dense.messages import say

RGB = 3
PNG, RGBA_PNG = b"\x89PNG\r\n\x1a\n", b"\x06"  # its first bytes; its colour type
SCALE = 255.0
DEPTHS = (8, 10, 12, 14, 16)  # bits that sensors have
DEPTH_OF = {2.0**bits - 1: bits for bits in DEPTHS}  # by their largest value


@dataclass(frozen=True)
class Bands:
    """What a file holds.

    Attributes:
        pixels: (height, width, bands) in the file's type; colours are red, green, blue.
        transparency: The last band is tagged as transparency.
        declared: The range of values that the file declares; None where it does not.
    """

    pixels: np.ndarray
    transparency: bool = False
    declared: tuple[float, float] | None = None

    @property
    def colours(self) -> np.ndarray:
        """The bands without transparency."""
        return self.pixels[..., :-1] if self.transparency else self.pixels


@dataclass(frozen=True)
class Reading:
    """How a model reads images.

    Attributes:
        channels: Of the model.
        value_range: The values that become 0 and 255; None: those of 8 bits, and of other types
            the range that an image declares or has. Images of 8 bits are never scaled.
    """

    channels: int = RGB
    value_range: tuple[float, float] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is that of a model for 8-bit colours."""
        return self.channels == RGB and self.value_range is None

    def of_bands(self, bands: Bands, name: str) -> np.ndarray:
        """An image as the model takes it: its bands in the file's order (red, green, blue ...).

        Returns:
            (height, width, channels): uint8 as it is in the file, float32 from scaled values. A
            model for 8-bit colours gets uint8.

        Raises:
            UserError: For other bands than the model has, and values that are no numbers.
        """
        pixels = self._chosen(bands, name)
        if pixels.dtype == np.uint8:
            return np.ascontiguousarray(pixels)
        if self.value_range is not None:
            return scale(pixels, self.value_range, name)
        low, high = bands.declared or measured_range([pixels], name)
        say_once(
            f"{name} holds {pixels.dtype} from {_number(low)} to {_number(high)}, and the model "
            "images of 8 bits: the range is scaled to 0 to 255, in this image and in others of its "
            "kind (--value-range LOW HIGH states another).",
            kind="range",
        )
        if self.channels != RGB:
            return scale(pixels, (low, high), name)
        if low == 0 and (bits := DEPTH_OF.get(high)) and pixels.dtype.kind == "u":
            return np.ascontiguousarray(pixels >> (bits - 8)).astype(np.uint8)  # the upper 8
        return np.clip(scale(pixels, (low, high), name), 0, SCALE).astype(np.uint8)

    def _chosen(self, bands: Bands, name: str) -> np.ndarray:
        """The bands that the model has channels for."""
        pixels, count = bands.pixels, bands.pixels.shape[2]
        if count == self.channels:
            return pixels
        colours = bands.colours
        if self.channels == RGB and colours.shape[2] > RGB:
            say_once(
                f"{name} has {count} bands, and the model 3 channels: the first three are read, in "
                "this image and in others of its kind.",
                kind="bands",
            )
            return colours[..., :RGB]
        if self.channels == RGB and colours.shape[2] == 1:
            return np.repeat(colours, RGB, axis=2)
        if self.channels == 1 and colours.shape[2] == RGB:
            say_once(
                f"{name} has colours, and the model one channel: they are read as grey.",
                kind="grey",
            )
            return cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)[..., None]
        if colours.shape[2] == self.channels:
            say_once(
                f"{name} has a band tagged as transparency, which is left out, here and in others "
                f"of its kind; where it is measured, model.backbone.in_channels={count} reads it.",
                kind="transparency",
            )
            return colours
        raise UserError(
            f"{name} has {count} bands, but the model takes {self.channels} channels: give images "
            f"like those it was trained on, or train a model of {count} channels."
        )


PLAIN = Reading()


def decode_bands(content: bytes, name: str) -> Bands | None:
    """All that a file holds; None for one that is no image.

    Raises:
        UserError: For a TIFF that cannot be read.
    """
    if (bands := decode_more(content, name)) is not None:
        return bands
    if content[:8] == PNG and content[25:26] == RGBA_PNG:
        return _as_bands(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), True)
    # Grey stays one band, and everything else becomes colours.
    return _as_bands(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYCOLOR), False)


def decode_more(content: bytes, name: str) -> Bands | None:
    """What a file holds where that is more than 8-bit colours or grey; None for other files.

    Raises:
        UserError: For a TIFF that cannot be read.
    """
    if content[:8] == PNG and content[24:25] == b"\x10":  # 16 bits
        has_alpha = content[25:26] in (b"\x04", RGBA_PNG)
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        return _as_bands(pixels, has_alpha)
    tags = read_tags(content, name)
    if tags is None or tags.is_plain:
        return None
    pixels = decode_tiff(content, tags, name)
    return Bands(pixels, tags.ends_in_transparency, tags.declared)


def _as_bands(pixels: np.ndarray | None, transparency: bool) -> Bands | None:
    """An image of OpenCV; its colours are blue, green, red."""
    if pixels is None:
        return None
    if pixels.ndim == 2:
        return Bands(pixels[..., None])
    return Bands(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]], transparency)


def scale(pixels: np.ndarray, value_range: tuple[float, float], name: str) -> np.ndarray:
    """Values on the scale of 8 bits, float32; those outside of the range stay outside.

    Raises:
        UserError: For values that are no numbers.
    """
    low, high = value_range
    scaled = ((pixels.astype(np.float64) - low) * (SCALE / (high - low))).astype(np.float32)
    if pixels.dtype.kind == "f" and not np.isfinite(scaled).all():
        raise UserError(
            f"{name} holds values that are no numbers (nan or infinite): write a value there."
        )
    return scaled


def measured_range(images: Iterable[np.ndarray], name: str) -> tuple[float, float]:
    """The range of the values of images of one type, which are looked at one by one.

    From 0 for whole numbers without a sign, to the largest value of the fewest bits that hold them
    (4095 for 12); from 0 to 1 for fractions; else from the least value to the largest.

    Raises:
        UserError: For values that are no numbers.
    """
    ends = [(float(image.min()), float(image.max()), image.dtype.kind) for image in images]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(
            f"{name} holds values that are no numbers (nan or infinite): write a value there."
        )
    if low >= 0 and all(kind in "ui" for *_, kind in ends):
        return 0.0, next((largest for largest in DEPTH_OF if high <= largest), high)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def check_range(value_range: Sequence[float]) -> tuple[float, float]:
    """The two values of ``--value-range``.

    Raises:
        UserError: When they are no range.
    """
    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"--value-range needs two numbers, the lower first, not {low} and {high}.")
    return float(low), float(high)


def shown(pixels: np.ndarray) -> np.ndarray:
    """The first three bands as people see them: RGB, uint8 (height, width, 3), a copy.

    Args:
        pixels: (height, width, bands) on the scale of 8 bits.
    """
    bands = pixels.shape[2]
    if bands > RGB:
        say_once(f"Drawings of images of {bands} bands show the first three.", kind="shown")
    chosen = pixels[..., :RGB] if bands >= RGB else np.repeat(pixels[..., :1], RGB, axis=2)
    if chosen.dtype != np.uint8:
        chosen = np.clip(np.rint(chosen), 0, SCALE).astype(np.uint8)
    return np.array(chosen, order="C")


def say_once(text: str, kind: str) -> None:
    """Logs the first sentence of a kind; data workers leave it to the main process."""
    if multiprocessing.parent_process() is None and kind not in _said:
        _said.add(kind)
        say(text)


_said: set[str] = set()


def _number(value: float) -> str:
    return f"{value:g}"
