"""The losses of mmsegmentation's heads, computed without waiting for the device."""

from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn


def head_losses(
    head: BaseDecodeHead, features: list[Tensor], data_samples: list[SegDataSample], train_cfg: Any
) -> dict[str, Tensor]:
    """Losses of a head, and the percentage of correct pixels (``acc_seg``).

    Equal to ``head.loss``, which waits for the device to select the valid pixels, and sorts each
    pixel's classes to find the largest. If a head overrides its losses, they are used.
    """
    head_type = type(head)
    if (head_type.loss, head_type.loss_by_feat) != (
        BaseDecodeHead.loss,
        BaseDecodeHead.loss_by_feat,
    ):
        return head.loss(features, data_samples, train_cfg)
    truth = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
    scores = resize(
        head.forward(features), truth.shape[2:], mode="bilinear", align_corners=head.align_corners
    )
    weight = None if head.sampler is None else head.sampler.sample(scores, truth)
    truth = truth.squeeze(1)
    is_list = isinstance(head.loss_decode, nn.ModuleList)
    losses: dict[str, Tensor] = {}
    for loss in head.loss_decode if is_list else [head.loss_decode]:
        value = loss(scores, truth, weight=weight, ignore_index=head.ignore_index)
        earlier = losses.get(loss.loss_name)
        losses[loss.loss_name] = value if earlier is None else earlier + value
    losses["acc_seg"] = accuracy(scores, truth, head.ignore_index)
    return losses


@torch.no_grad()
def accuracy(scores: Tensor, truth: Tensor, ignore_index: int | None) -> Tensor:
    """Percentage (1,) of the valid pixels whose highest score is that of the true class.

    Args:
        scores: (N, classes, H, W).
        truth: (N, H, W).
        ignore_index: Label of ignored pixels; None if no pixel is ignored.
    """
    valid = torch.ones_like(truth, dtype=torch.bool)
    if ignore_index is not None:
        valid = truth != ignore_index
    correct = (scores.max(dim=1).indices == truth) & valid
    tiny = torch.finfo(torch.float32).eps  # a batch without valid pixels gives 100, as in mmseg
    return 100 * (correct.sum(dtype=torch.float32) + tiny)[None] / (valid.sum() + tiny)
