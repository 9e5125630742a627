"""The losses of mmsegmentation's heads without waiting for the device."""

from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn


def head_losses(
    head: BaseDecodeHead, features: list[Tensor], data_samples: list[SegDataSample], train_cfg: Any
) -> dict[str, Tensor]:
    """Losses of a head, and its share of right pixels (``acc_seg``, in percent).

    As ``head.loss``, which selects the counted pixels on the host and sorts the classes of each
    for the largest. A head that has losses of its own is asked for them.
    """
    own = type(head)
    if (own.loss, own.loss_by_feat) != (BaseDecodeHead.loss, BaseDecodeHead.loss_by_feat):
        return head.loss(features, data_samples, train_cfg)
    truth = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
    scores = resize(
        head.forward(features), truth.shape[2:], mode="bilinear", align_corners=head.align_corners
    )
    weight = None if head.sampler is None else head.sampler.sample(scores, truth)
    truth = truth.squeeze(1)
    several = isinstance(head.loss_decode, nn.ModuleList)
    losses: dict[str, Tensor] = {}
    for loss in head.loss_decode if several else [head.loss_decode]:
        value = loss(scores, truth, weight=weight, ignore_index=head.ignore_index)
        known = losses.get(loss.loss_name)
        losses[loss.loss_name] = value if known is None else known + value
    losses["acc_seg"] = accuracy(scores, truth, head.ignore_index)
    return losses


@torch.no_grad()
def accuracy(scores: Tensor, truth: Tensor, ignore_index: int | None) -> Tensor:
    """Percentage (1,) of the counted pixels whose highest score is that of their class.

    Args:
        scores: (N, classes, H, W).
        truth: (N, H, W).
        ignore_index: Label of pixels that do not count; None where all do.
    """
    counted = torch.ones_like(truth, dtype=torch.bool)
    if ignore_index is not None:
        counted = truth != ignore_index
    right = (scores.max(dim=1).indices == truth) & counted
    tiny = torch.finfo(torch.float32).eps  # a batch without counted pixels has 100, as mmseg's
    return 100 * (right.sum(dtype=torch.float32) + tiny)[None] / (counted.sum() + tiny)
