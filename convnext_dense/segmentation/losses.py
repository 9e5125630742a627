"""A loss for data in which some classes fill most of the pictures."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_dense.errors import UserError


@MODELS.register_module()
class BalancedCrossEntropy(nn.Module):
    """Cross entropy in which a pixel counts the more, the rarer its class is in the batch.

    A pixel of a class that has the share s of the batch's pixels weighs s ** -power: with 0 all
    pixels count alike, with 1 all classes of the batch do. No class needs a number in the config,
    as the class weights of mmsegmentation's CrossEntropyLoss do (and those fail on ignored
    pixels).

    Args:
        power: In [0, 1].
        loss_weight: Factor of the whole loss.
        loss_name: Its name in the logs.

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
        """Weighted mean over the pixels that are not ignored; 0 where all are.

        Args:
            cls_score: (N, classes, H, W).
            label: (N, H, W).
            weight: Of single pixels, from a pixel sampler: refused.
            ignore_index: Label of pixels that do not count.
        """
        if weight is not None:
            raise UserError("BalancedCrossEntropy goes with no pixel sampler.")
        counts = torch.bincount(label[label != ignore_index], minlength=cls_score.shape[1])
        share = counts.to(cls_score.dtype) / counts.sum().clamp(min=1)
        weights = torch.where(counts > 0, share.clamp(min=1e-12) ** -self.power, 0)
        loss = F.cross_entropy(
            cls_score, label, weights, ignore_index=ignore_index, reduction="sum"
        )
        return self.loss_weight * loss / (weights * counts).sum().clamp(min=1e-12)
