"""From a picture to a tensor of bytes: the recipes' augmentation and test transforms, by timm."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data import auto_augment as auto_augment_ops
from timm.data import create_transform

NO_CROP_FROM = 384  # pixels: appendix A.2 has a crop ratio of .875 at 224 and of 1 at 384
CROP_RATIO = 0.875


@TRANSFORMS.register_module()
class TrainTransform:
    """Random crop, flip and RandAugment of the recipes (table 5 of the paper), as uint8.

    Random erasing, mixup and CutMix follow on the device (ClassificationPreprocessor).

    Args:
        size: Side of the result in pixels.
        scale: Range of the crop's area, as a share of the picture's.
        ratio: Range of the crop's width / height.
        flip: Probability of a mirror image.
        auto_augment: timm's name of the policy, such as ``rand-m9-mstd0.5-inc1``; None for none.
        color_jitter: Strength of the colour jitter. As in the release, timm leaves it out where a
            policy is given, which changes colours itself.
        interpolation: Of resizing and of the policy's rotations.
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

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Maps an RGB picture to uint8 (3, size, size)."""
        return self.transform(picture)


def posterize(picture: Image.Image, bits: int, **kwargs) -> Image.Image:
    """Keeps the upper bits of each channel: none of them leave a black picture.

    timm's policies ask for none where they are strongest (``m9-mstd0.5`` in one of 40 draws of
    this operation). Earlier Pillow painted black, Pillow 13 refuses.
    """
    if bits == 0:
        return Image.new(picture.mode, picture.size)
    return auto_augment_ops.posterize(picture, bits, **kwargs)


def _operations(step: Any) -> Iterator[auto_augment_ops.AugmentOp]:
    """The operations of RandAugment and AugMix, or of AutoAugment's pairs; else none."""
    found = vars(step)
    yield from found.get("ops", ())
    for pair in found.get("policy", ()):
        yield from pair


@TRANSFORMS.register_module()
class TestTransform:
    """The paper's test: a centre crop below 384 pixels, the whole picture from there on.

    Below, the short side becomes size / .875 and the centre is cut out; from 384 the picture is
    resized to the square, whatever its shape.

    Args:
        size: Side of the result in pixels.
        crop: Side of the centre crop, as a share of the resized short side, instead of the
            paper's.
        interpolation: Of resizing.
    """

    __test__ = False  # its name is no test's

    def __init__(
        self, size: int, crop: float | None = None, interpolation: str = "bicubic"
    ) -> None:
        whole = crop is None and size >= NO_CROP_FROM
        self.transform = create_transform(
            size,
            crop_pct=1.0 if whole else crop or CROP_RATIO,
            crop_mode="squash" if whole else "center",
            interpolation=interpolation,
            normalize=False,
        )

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Maps an RGB picture to uint8 (3, size, size)."""
        return self.transform(picture)
