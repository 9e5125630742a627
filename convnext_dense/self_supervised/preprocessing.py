"""Preprocessing of a batch of views on the device: normalisation."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS


@MODELS.register_module()
class ViewsPreprocessor(BaseDataPreprocessor):
    """Turns uint8 views into the network's input, on the network's device.

    Args:
        mean, std: Mean and standard deviation of each channel, for values from 0 to 255.
        non_blocking: As in mmengine.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Maps a collated batch to the model's arguments.

        Args:
            data: ``views``, by name uint8 (N, V, 3, H, W); ``paths``.
            training: Not used: all augmentation is in the views.

        Returns:
            Each of the views, float32 (N V, 3, H, W), those of an image one after another; and
            ``paths``.
        """
        views = self.cast_data(data["views"])
        normalised = {
            name: (images.flatten(0, 1).float() - self.mean) / self.std
            for name, images in views.items()
        }
        return dict(normalised, paths=data["paths"])
