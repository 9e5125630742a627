"""Preprocessing of a batch on the device: normalisation, random erasing, mixup and CutMix."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from timm.data import Mixup
from timm.data.mixup import mixup_target
from timm.data.random_erasing import RandomErasing

from convnext_dense.errors import UserError


@MODELS.register_module()
class ClassificationPreprocessor(BaseDataPreprocessor):
    """Turns a batch of uint8 images into the network's input, on the network's device.

    Batches are sent as uint8, a quarter of float32. All random numbers are drawn in the training
    process, so a resumed run draws the same ones.

    Args:
        num_classes: Number of classes; the classifier fills it in.
        mean, std: Mean and standard deviation of each channel, for values from 0 to 255.
        label_smoothing: Part of the target that is distributed over all classes.
        erasing: Probability that a rectangle of an image is replaced by pixel noise.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; 0 for none. With both, each batch
            randomly gets one of them.
        non_blocking: As in mmengine.

    Raises:
        UserError: For a value out of range.
    """

    def __init__(
        self,
        num_classes: int,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        label_smoothing: float = 0.0,
        erasing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        for name, value in (("label_smoothing", label_smoothing), ("erasing", erasing)):
            if not 0 <= value < 1:
                raise UserError(f"data_preprocessor.{name} must be in [0, 1), got {value}.")
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.erasing = erasing
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.mixing = None
        if mixup > 0 or cutmix > 0:
            self.mixing = Mixup(
                mixup_alpha=mixup,
                cutmix_alpha=cutmix,
                label_smoothing=label_smoothing,
                num_classes=num_classes,
            )

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Maps a collated batch to the classifier's arguments.

        Args:
            data: ``inputs``, uint8 (N, 3, H, W); ``targets``, labels (N,); ``paths``.
            training: Whether to augment, and to turn labels into probabilities.

        Returns:
            ``inputs``, float32 (N, 3, H, W); ``targets``, labels (N,) or, in training,
            probabilities (N, num_classes); ``paths``.
        """
        inputs = self.cast_data(data["inputs"])
        targets = self.cast_data(data["targets"])
        inputs = (inputs.float() - self.mean) / self.std
        if training:
            if self.erasing:
                erase = RandomErasing(self.erasing, mode="pixel", device=inputs.device)
                inputs = erase(inputs)
            inputs, targets = self._mix(inputs, targets)
        return dict(inputs=inputs, targets=targets, paths=data["paths"])

    def _mix(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.mixing is None:
            return inputs, mixup_target(
                labels, self.num_classes, lam=1.0, smoothing=self.label_smoothing
            )
        if len(inputs) % 2:
            raise UserError(
                f"Mixup and CutMix pair the images of a batch, but it has {len(inputs)}: set "
                "train_dataloader.batch_size to an even number."
            )
        return self.mixing(inputs, labels)
