"""Heads that classify masks (MaskFormer, Mask2Former), where others score each pixel's classes.

A query has a mask and a probability of each class; a class's score at a pixel is the sum, over the
queries, of the mask there times the probability. Scores are at least 0 and sum to no fixed number.
"""

import torch
from mmseg.models.decode_heads import Mask2FormerHead, MaskFormerHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

MASK_HEADS = (MaskFormerHead, Mask2FormerHead)


def classifies_masks(head: nn.Module) -> bool:
    """Whether a decode head is one of these."""
    return isinstance(head, MASK_HEADS)


def query_outputs(head: nn.Module, features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """What a head's last layer says of one image.

    Args:
        head: One of :data:`MASK_HEADS`.
        features: Feature maps (1, C_i, H_i, W_i).

    Returns:
        Logits of the masks (queries, H, W) at the stride of the first map, and the probabilities
        (queries, classes), which leave "no object" out.
    """
    stride = 4  # MaskFormer needs an image's size, for its padding
    size = tuple(stride * side for side in features[0].shape[2:])
    sample = SegDataSample(metainfo=dict(batch_input_shape=size, img_shape=size))
    classes, masks = (outputs[-1][0] for outputs in head(features, [sample]))
    return masks.float(), classes.float().softmax(dim=-1)[:, :-1]


def class_scores(masks: Tensor, probabilities: Tensor) -> Tensor:
    """Scores (classes, H, W) from logits of masks (queries, H, W), and (queries, classes)."""
    return torch.einsum("qc,qhw->chw", probabilities, masks.sigmoid())


def shares(scores: Tensor) -> Tensor:
    """Each class's part of the scores (classes, H, W) at a pixel; the parts sum to 1."""
    scores = scores.clamp(min=torch.finfo(scores.dtype).tiny)
    return scores / scores.sum(dim=0, keepdim=True)
