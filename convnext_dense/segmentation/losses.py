"""A loss for datasets in which a few classes cover most of the pixels."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_dense.errors import UserError


@MODELS.register_module()
class BalancedCrossEntropy(nn.Module):
    """Cross entropy that gives pixels of rare classes a larger weight.

    The weight of a pixel is s ** -power, where s is its class's share of the batch's pixels. With
    power 0 all pixels have the same weight, with power 1 all classes of the batch have. Unlike the
    class weights of mmsegmentation's CrossEntropyLoss, it needs no value for each class, and it
    works with ignored pixels.

    Args:
        power: Exponent in [0, 1].
        loss_weight: Factor of the loss.
        loss_name: Name of the loss in the logs.

    Raises:
        UserError: For a power outside [0, 1].
    """

    def __init__(
        self, power: float = 0.5, loss_weight: float = 1.0, loss_name: str = "loss_ce"
    ) -> None:
        super().__init__()
        if not 0 <= power <= 1:
            raise UserError(f"BalancedCrossEntropy: power must be in [0, 1], got {power}.")
        self.power = power
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Weighted mean over the valid pixels; 0 if all are ignored.

        Args:
            cls_score: (N, classes, H, W).
            label: (N, H, W).
            weight: Weights of a pixel sampler; not supported.
            ignore_index: Label of ignored pixels.
        """
        if weight is not None:
            raise UserError(
                "BalancedCrossEntropy does not support a pixel sampler: remove the head's sampler."
            )
        counts = torch.bincount(label[label != ignore_index], minlength=cls_score.shape[1])
        share = counts.to(cls_score.dtype) / counts.sum().clamp(min=1)
        weights = torch.where(counts > 0, share.clamp(min=1e-12) ** -self.power, 0)
        loss = F.cross_entropy(
            cls_score, label, weights, ignore_index=ignore_index, reduction="sum"
        )
        return self.loss_weight * loss / (weights * counts).sum().clamp(min=1e-12)
