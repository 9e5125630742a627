"""From an image to its views: one crop for masked training, several for distillation."""

from collections.abc import Sequence

import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

LOCAL_SHARE = 3 / 7  # of the global crops' side: 96 of 224 pixels, as in DINO
GRID = 32  # pixels: the smallest image of a ConvNeXt, and a local crop's side is a multiple of it
TO_TENSOR = v2.PILToTensor()


@TRANSFORMS.register_module()
class SingleView:
    """A random crop and a flip: all the augmentation of FCMAE (its paper, appendix).

    Args:
        size: Side of the view in pixels.
        scale: Range of the crop's area as a ratio of the image's area.
        flip: Probability of a horizontal flip.
    """

    def __init__(self, size: int, scale: Sequence[float] = (0.2, 1.0), flip: float = 0.5) -> None:
        self.transform = v2.Compose([_crop(size, scale), v2.RandomHorizontalFlip(flip), TO_TENSOR])

    def __call__(self, image: Image.Image) -> dict[str, torch.Tensor]:
        """Maps an RGB image to ``inputs``, uint8 (1, 3, size, size)."""
        return dict(inputs=self.transform(image)[None])


@TRANSFORMS.register_module()
class MultiCropViews:
    """Large crops, and small ones of small parts, with changed colours (DINO's multi-crop).

    Args:
        size: Side of the global crops in pixels.
        local_size: Side of the local crops; None: 3/7 of it, rounded to a multiple of 32.
        global_crops, local_crops: How many there are; no local ones with 0.
        global_scale, local_scale: Ranges of their areas as ratios of the image's area.
        flip: Probability of a horizontal flip.
        jitter: Strength of the colour jitter, which 80 % of the crops get; 0 for none.
        grey: Probability of a grey crop.
        blur: Probability of a blurred crop.
    """

    def __init__(
        self,
        size: int,
        local_size: int | None = None,
        global_crops: int = 2,
        local_crops: int = 4,
        global_scale: Sequence[float] = (0.32, 1.0),
        local_scale: Sequence[float] = (0.05, 0.32),
        flip: float = 0.5,
        jitter: float = 0.4,
        grey: float = 0.2,
        blur: float = 0.3,
    ) -> None:
        local_size = local_size or max(GRID, round(size * LOCAL_SHARE / GRID) * GRID)
        colours = v2.ColorJitter(jitter, jitter, jitter / 2, jitter / 4)
        changes = [
            v2.RandomHorizontalFlip(flip),
            *([v2.RandomApply([colours], 0.8)] if jitter else []),
            v2.RandomGrayscale(grey),
            v2.RandomApply([v2.GaussianBlur(max(3, size // 10 | 1))], blur),
            TO_TENSOR,
        ]
        self.counts = dict(inputs=global_crops, crops=local_crops)
        self.transforms = dict(
            inputs=v2.Compose([_crop(size, global_scale), *changes]),
            crops=v2.Compose([_crop(local_size, local_scale), *changes]),
        )

    def __call__(self, image: Image.Image) -> dict[str, torch.Tensor]:
        """Maps an RGB image to its views.

        Returns:
            ``inputs``, uint8 (global_crops, 3, size, size), and where there are local crops
            ``crops``, uint8 (local_crops, 3, local_size, local_size).
        """
        return {
            name: torch.stack([self.transforms[name](image) for _ in range(count)])
            for name, count in self.counts.items()
            if count
        }


def _crop(size: int, scale: Sequence[float]) -> v2.RandomResizedCrop:
    return v2.RandomResizedCrop(size, tuple(scale), interpolation=InterpolationMode.BICUBIC)
