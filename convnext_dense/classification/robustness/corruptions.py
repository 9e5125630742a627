"""Corrupting pictures on the fly, as ImageNet-C and ImageNet-C-bar were made.

The 15 corruptions of C come from the package imagecorruptions-imaug, the maintained fork of the
authors' package; the 10 of C-bar, which no package has, from :mod:`c_bar`. What differs from the
published data sets is in docs/robustness.md.
"""

import io
import zlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from PIL import Image

from convnext_dense.classification.robustness import c_bar
from convnext_dense.classification.robustness.corruption_tables import (
    ALEXNET_ERRORS,
    C_BAR_SEVERITIES,
    SEVERITIES,
)
from convnext_dense.errors import UserError

PACKAGE = "imagecorruptions-imaug"
SMALLEST = 32  # pixels a side, the package's limit
RESIZED, CROPPED = 256, 224  # pixels: both data sets were made of this centre crop
JPEG_QUALITY = 85  # and saved at this quality


def check_corruption(name: str, severity: int) -> None:
    """Refuses what does not exist or cannot be made here, before the first picture.

    Raises:
        UserError: For an unknown corruption or severity, or a missing package.
    """
    if name not in ALEXNET_ERRORS and name not in C_BAR_SEVERITIES:
        raise UserError(
            f"Unknown corruption {name!r}: ImageNet-C has {', '.join(ALEXNET_ERRORS)}; "
            f"ImageNet-C-bar has {', '.join(C_BAR_SEVERITIES)}."
        )
    if severity not in SEVERITIES:
        raise UserError(f"Severities are 1 to 5, got {severity}.")
    if name in ALEXNET_ERRORS:
        try:
            version(PACKAGE)
        except PackageNotFoundError as error:
            raise UserError(
                f"Making the corruptions of ImageNet-C needs {PACKAGE}: run pip install "
                f"{PACKAGE} (pip uninstall imagecorruptions first, where that one is installed)."
            ) from error


def corrupt(picture: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """One corrupted picture; the same seed gives the same one.

    Args:
        picture: RGB, uint8 (H, W, 3); for ImageNet-C at least 32 x 32.
        name: A key of ``ALEXNET_ERRORS`` or ``C_BAR_SEVERITIES``.
        severity: 1 to 5.
        seed: Of everything random in it, 0 to 2**32 - 1.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UserError: As :func:`check_corruption`, and for a picture that is too small.
    """
    check_corruption(name, severity)
    if name in C_BAR_SEVERITIES:
        strength = C_BAR_SEVERITIES[name][severity - 1]
        rng = np.random.default_rng(seed)
        made = c_bar.CORRUPTIONS[name](picture.astype(np.float32), strength, rng)
        return np.clip(made, 0, 255).astype(np.uint8)
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(
            f"Corruptions of ImageNet-C need pictures of at least {SMALLEST} x {SMALLEST} pixels, "
            f"got {height} x {width}."
        )
    return _by_package(picture, name, severity, seed)


def _by_package(picture: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    import imagecorruptions

    # Two of them have a generator of their own, the others draw from numpy's global one.
    own = dict(seed=seed) if name in ("impulse_noise", "glass_blur") else {}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        return imagecorruptions.corrupt(picture, severity, name, **own)
    finally:
        np.random.set_state(state)


class CorruptingTransform:
    """The data sets' own steps before a test transform: crop, corrupt, save as JPEG.

    Pictures are cut to 224 x 224 first (short side 256, bilinear, centre), as published; those
    whose short side is below 224 keep their size.

    Args:
        name: Of the corruption.
        severity: 1 to 5.
        transform: What follows, from an RGB picture to a tensor.
    """

    def __init__(
        self, name: str, severity: int, transform: Callable[[Image.Image], torch.Tensor]
    ) -> None:
        check_corruption(name, severity)
        self.name = name
        self.severity = severity
        self.transform = transform

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Maps an RGB picture to a tensor; draws its seed from numpy's global generator."""
        seed = int(np.random.randint(2**32, dtype=np.uint64))
        pixels = corrupt(np.asarray(centre_crop(picture)), self.name, self.severity, seed)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
        with Image.open(file) as saved:
            return self.transform(saved.convert("RGB"))


def centre_crop(picture: Image.Image) -> Image.Image:
    """The 224 x 224 pixels that were corrupted; smaller pictures as they are."""
    width, height = picture.size
    short = min(width, height)
    if short < CROPPED:
        return picture
    width, height = (int(RESIZED * side / short) for side in (width, height))
    left, top = round((width - CROPPED) / 2), round((height - CROPPED) / 2)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + CROPPED, top + CROPPED))


def picture_seed(seed: int, name: str, severity: int, path: str) -> int:
    """The seed of one corrupted picture: of the run's, the corruption and the picture's place."""
    return zlib.crc32(f"{seed} {name} {severity} {path}".encode())
