"""The recipes' training and test transforms (by timm), from an image to a uint8 tensor."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data import auto_augment as auto_augment_ops
from timm.data import create_transform

NO_CROP_FROM = 384  # pixels; appendix A.2: crop ratio .875 at 224, and 1 at 384
CROP_RATIO = 0.875


@TRANSFORMS.register_module()
class TrainTransform:
    """Random crop, flip and RandAugment of the recipes (table 5 of the paper), as uint8.

    ClassificationPreprocessor applies random erasing, mixup and CutMix later on the device.

    Args:
        size: Side of the result in pixels.
        scale: Range of the crop's area as a ratio of the image's area.
        ratio: Range of the crop's width / height.
        flip: Probability of a horizontal flip.
        auto_augment: timm's name of the policy, such as ``rand-m9-mstd0.5-inc1``, or None.
        color_jitter: Strength of the colour jitter. As in the release, timm leaves it out if there
            is a policy, since policies change colours too.
        interpolation: Interpolation of resizing and of the policy's rotations.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        auto_augment: str | None = "rand-m9-mstd0.5-inc1",
        color_jitter: float = 0.4,
        interpolation: str = "bicubic",
    ) -> None:
        self.transform = create_transform(
            size,
            is_training=True,
            scale=tuple(scale),
            ratio=tuple(ratio),
            hflip=flip,
            auto_augment=auto_augment,
            color_jitter=color_jitter,
            interpolation=interpolation,
            normalize=False,
        )
        for step in self.transform.transforms:
            for op in _operations(step):
                if op.aug_fn is auto_augment_ops.posterize:
                    op.aug_fn = posterize

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Maps an RGB image to uint8 (3, size, size)."""
        return self.transform(image)


def posterize(image: Image.Image, bits: int, **kwargs) -> Image.Image:
    """Keeps the upper ``bits`` of each channel; with 0 bits the image becomes black.

    The strongest settings of timm's policies ask for 0 bits (``m9-mstd0.5`` in one of 40 draws of
    this operation). Older versions of Pillow returned a black image, Pillow 13 raises.
    """
    if bits == 0:
        return Image.new(image.mode, image.size)
    return auto_augment_ops.posterize(image, bits, **kwargs)


def _operations(step: Any) -> Iterator[auto_augment_ops.AugmentOp]:
    """The operations of a RandAugment, AugMix or AutoAugment step; nothing for other steps."""
    attributes = vars(step)
    yield from attributes.get("ops", ())
    for pair in attributes.get("policy", ()):
        yield from pair


@TRANSFORMS.register_module()
class TestTransform:
    """The paper's test transform: a centre crop below 384 pixels, otherwise the whole image.

    Below 384, the short side is resized to size / .875 and the centre is cropped. From 384 on, the
    image is resized to a square, without keeping its aspect ratio.

    Args:
        size: Side of the result in pixels.
        crop: Side of the centre crop as a ratio of the resized short side, instead of the
            paper's.
        interpolation: Interpolation of resizing.
    """

    __test__ = False  # not a test, despite its name

    def __init__(
        self, size: int, crop: float | None = None, interpolation: str = "bicubic"
    ) -> None:
        whole_image = crop is None and size >= NO_CROP_FROM
        self.transform = create_transform(
            size,
            crop_pct=1.0 if whole_image else crop or CROP_RATIO,
            crop_mode="squash" if whole_image else "center",
            interpolation=interpolation,
            normalize=False,
        )

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Maps an RGB image to uint8 (3, size, size)."""
        return self.transform(image)
