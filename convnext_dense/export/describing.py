"""What an exported model takes: read from the steps and the preprocessor of a trained one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL
from PIL import Image

from convnext_dense.classification.transforms import CROP_RATIO, NO_CROP_FROM
from convnext_dense.config.config_tree import datasets
from convnext_dense.errors import UserError
from convnext_dense.exported.description import Resizing
from convnext_dense.exported.pillow_resize import pillow_resize
from convnext_dense.inference.trained.networks import READING
from convnext_dense.models.staged_network import STRIDES

PACKING = ("PackDetInputs", "PackSegInputs")
CLASSIFIERS = ("bicubic", "bilinear")  # interpolations of their test transforms


def resizing_of(cfg: Any) -> Resizing:
    """How the test pipeline of a detector or segmentor resizes.

    Raises:
        UserError: For a step that an exported model does not know.
    """
    (dataset, *_) = [*datasets(cfg, "test"), cfg.test_dataloader.dataset]
    steps = [step for step in dataset.pipeline if step["type"] not in (*READING, *PACKING)]
    for step in steps:
        if step["type"] != "Resize" or set(step) - {"type", "scale", "keep_ratio"}:
            raise UserError(
                f"The test pipeline has the step {dict(step)}, and an exported model knows Resize "
                "with scale and keep_ratio alone: resize the images beforehand, or export with "
                "--cfg-options test_dataloader.dataset.pipeline=..."
            )
    if not steps:
        return Resizing("none")
    if len(steps) > 1:
        raise UserError("The test pipeline resizes twice: leave one of the steps out.")
    scale = tuple(int(side) for side in steps[0]["scale"])
    kind = "inside" if steps[0].get("keep_ratio") else "stretch"
    return Resizing(kind, scale)


def classifier_resizing(transform: Mapping[str, Any]) -> Resizing:
    """How a classifier's ``TestTransform`` resizes.

    Raises:
        UserError: For an interpolation that an exported model does not know.
    """
    size, crop = transform["size"], transform.get("crop")
    interpolation = transform.get("interpolation", "bicubic")
    if interpolation not in CLASSIFIERS:
        raise UserError(
            f"The test transform resizes by {interpolation}, and an exported model knows "
            f"{' and '.join(CLASSIFIERS)}."
        )
    name = f"pillow_{interpolation}"
    if crop is None and size >= NO_CROP_FROM:
        return Resizing("stretch", (size, size), name, columns_first=columns_first())
    side = int(np.floor(size / (crop or CROP_RATIO)))
    return Resizing("short_side", (side, side), name, (size, size), columns_first())


def columns_first() -> bool:
    """Whether the Pillow of this environment resizes columns first, as it did before version 13.

    Raises:
        UserError: When it does neither as 12 nor as 13.
    """
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((40, 20), Image.Resampling.BICUBIC))
    for first in (False, True):
        if np.array_equal(theirs, pillow_resize(image, 40, 20, "pillow_bicubic", first)):
            return first
    raise UserError(
        f"Pillow {PIL.__version__} resizes otherwise than versions 9 to 13, and an exported "
        "classifier would see other images: install one of these."
    )


def statistics_of(preprocessor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, on the scale of 8 bits."""
    mean, std = preprocessor.mean.flatten().tolist(), preprocessor.std.flatten().tolist()
    return tuple(mean), tuple(std)


def check_fixed(size: Sequence[int] | None, divisor: int) -> tuple[int, int] | None:
    """The fixed input size, height and width.

    Raises:
        UserError: For sizes that the network cannot take.
    """
    if size is None:
        return None
    height, width = size
    for side in (height, width):
        if side < STRIDES[-1] or side % divisor:
            raise UserError(
                f"--input-size {height} {width}: each side must be at least {STRIDES[-1]} and a "
                f"multiple of {divisor}."
            )
    return height, width
