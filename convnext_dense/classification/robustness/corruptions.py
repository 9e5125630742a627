"""Corrupting images on the fly, as ImageNet-C and ImageNet-C-bar were made.

The 15 corruptions of C come from the package imagecorruptions-imaug, the maintained fork of the
authors' package. The 10 of C-bar come from :mod:`c_bar`, since no package has them.
docs/robustness.md has the differences from the published datasets.
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
MIN_SIDE = 32  # pixels; the package's limit
RESIZED, CROPPED = 256, 224  # pixels; both datasets were made from this centre crop
JPEG_QUALITY = 85  # of both datasets


def check_corruption(name: str, severity: int) -> None:
    """Checks that a corruption exists and can be computed here.

    Raises:
        UserError: For an unknown corruption or severity, or a missing package.
    """
    if name not in ALEXNET_ERRORS and name not in C_BAR_SEVERITIES:
        raise UserError(
            f"Unknown corruption {name!r}: ImageNet-C has {', '.join(ALEXNET_ERRORS)}; "
            f"ImageNet-C-bar has {', '.join(C_BAR_SEVERITIES)}."
        )
    if severity not in SEVERITIES:
        raise UserError(f"The severity must be 1 to 5, got {severity}.")
    if name in ALEXNET_ERRORS:
        try:
            version(PACKAGE)
        except PackageNotFoundError as error:
            raise UserError(
                f"Making the corruptions of ImageNet-C needs {PACKAGE}: run pip install "
                f"{PACKAGE} (if imagecorruptions is installed, pip uninstall it first)."
            ) from error


def corrupt(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Corrupts an image; the same seed gives the same result.

    Args:
        image: RGB, uint8 (H, W, 3); for ImageNet-C at least 32 x 32.
        name: A key of ``ALEXNET_ERRORS`` or ``C_BAR_SEVERITIES``.
        severity: 1 to 5.
        seed: Seed of the corruption, 0 to 2**32 - 1.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UserError: As :func:`check_corruption`, and for an image that is too small.
    """
    check_corruption(name, severity)
    if name in C_BAR_SEVERITIES:
        strength = C_BAR_SEVERITIES[name][severity - 1]
        rng = np.random.default_rng(seed)
        corrupted = c_bar.CORRUPTIONS[name](image.astype(np.float32), strength, rng)
        return np.clip(corrupted, 0, 255).astype(np.uint8)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UserError(
            f"Corruptions of ImageNet-C need images of at least {MIN_SIDE} x {MIN_SIDE} pixels, "
            f"got {height} x {width}."
        )
    return _corrupt_by_package(image, name, severity, seed)


def _corrupt_by_package(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    import imagecorruptions

    # Two corruptions take a seed, the others use numpy's global generator.
    options = dict(seed=seed) if name in ("impulse_noise", "glass_blur") else {}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        return imagecorruptions.corrupt(image, severity, name, **options)
    finally:
        np.random.set_state(state)


class CorruptingTransform:
    """Crops, corrupts and saves an image as JPEG, as both datasets do, before a test transform.

    As published, images are cropped to 224 x 224 (short side 256, bilinear, centre). Images whose
    short side is below 224 keep their size.

    Args:
        name: Name of the corruption.
        severity: 1 to 5.
        transform: The test transform, from an RGB image to a tensor.
    """

    def __init__(
        self, name: str, severity: int, transform: Callable[[Image.Image], torch.Tensor]
    ) -> None:
        check_corruption(name, severity)
        self.name = name
        self.severity = severity
        self.transform = transform

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Maps an RGB image to a tensor; the seed comes from numpy's global generator."""
        seed = int(np.random.randint(2**32, dtype=np.uint64))
        pixels = corrupt(np.asarray(centre_crop(image)), self.name, self.severity, seed)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
        with Image.open(file) as saved:
            return self.transform(saved.convert("RGB"))


def centre_crop(image: Image.Image) -> Image.Image:
    """Crops the central 224 x 224 pixels; smaller images are returned unchanged."""
    width, height = image.size
    short = min(width, height)
    if short < CROPPED:
        return image
    width, height = (int(RESIZED * side / short) for side in (width, height))
    left, top = round((width - CROPPED) / 2), round((height - CROPPED) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + CROPPED, top + CROPPED))


def image_seed(seed: int, name: str, severity: int, path: str) -> int:
    """The seed of one corrupted image, from the run's seed, the corruption and the image's path."""
    return zlib.crc32(f"{seed} {name} {severity} {path}".encode())
