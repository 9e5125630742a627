"""What a detector needs beside layers, as operators that an exporter translates as a whole.

Non-maximum suppression and the choice of a pyramid level depend on values. Traced through torch's
own operators, their sizes would be unknown to the exporter; as operators with a translation
(``onnx_translation.py``) their output has the size of their input.
"""

import torch
from torch import Tensor
from torchvision.ops import nms, roi_align

from convnext_dense.export.levels import levels_of

SUPPRESSED = -1.0  # the score of what is not kept
NAMESPACE = "convnext_dense_export"


@torch.library.custom_op(f"{NAMESPACE}::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, iou: float, least: float) -> Tensor:
    """Non-maximum suppression inside of each group.

    Args:
        boxes: (G, N, 4), left, top, right, bottom.
        scores: (G, N).
        iou: A box is suppressed by one of higher score that overlaps it more.
        least: Only boxes of a higher score are kept.

    Returns:
        (G, N): the scores; -1 for boxes that are not kept.
    """
    kept = torch.full_like(scores, SUPPRESSED)
    for group in range(len(boxes)):
        (chosen,) = torch.nonzero(scores[group] > least, as_tuple=True)
        chosen = chosen[nms(boxes[group, chosen], scores[group, chosen], iou)]
        kept[group, chosen] = scores[group, chosen]
    return kept


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, least: float) -> Tensor:
    return torch.empty_like(scores)


@torch.library.custom_op(f"{NAMESPACE}::choose_best", mutates_args=())
def choose_best(scores: Tensor, count: int) -> Tensor:
    """The places of the highest scores, in an order in which equal scores keep theirs.

    Of equal scores the first are chosen. Where ReLU leaves nothing of the RPN's features, all
    anchors have one score: which of them become proposals must not depend on the runtime.

    Args:
        scores: (G, N).
        count: Of places; at most N.

    Returns:
        (G, count), int64.
    """
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count].contiguous()


@choose_best.register_fake
def _(scores: Tensor, count: int) -> Tensor:
    return scores.new_empty(scores.shape[0], count, dtype=torch.int64)


@torch.library.custom_op(f"{NAMESPACE}::pool_regions", mutates_args=())
def pool_regions(
    features: list[Tensor], regions: Tensor, size: int, strides: list[int], ratio: int, finest: int
) -> Tensor:
    """RoIAlign of each region on the pyramid level of its size.

    Args:
        features: (B, C, H_i, W_i), a level each.
        regions: (R, 5): image of the batch, left, top, right, bottom in pixels of the input.
        size: Side of the output.
        strides: Of the levels.
        ratio: Samples a bin and axis; 0 adapts them to the region.
        finest: Side below which a region belongs to the first level.

    Returns:
        (R, C, size, size).
    """
    levels = levels_of(regions, len(features), finest)
    pooled = features[0].new_zeros(len(regions), features[0].shape[1], size, size)
    for level, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        (chosen,) = torch.nonzero(levels == level, as_tuple=True)
        pooled[chosen] = roi_align(
            feature, regions[chosen], size, 1 / stride, max(0, ratio) or -1, aligned=True
        )
    return pooled


@pool_regions.register_fake
def _(features, regions, size, strides, ratio, finest) -> Tensor:
    return features[0].new_empty(regions.shape[0], features[0].shape[1], size, size)
