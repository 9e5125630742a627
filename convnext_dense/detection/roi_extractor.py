"""RoI extraction that keeps boxes in float32 under mixed precision."""

import torch
from mmdet.models.roi_heads import SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

# Feature map -> the same as RoIAlign reads it, as long as the map lives. A cascade extracts from
# the same maps six times, by as many extractors.
_READABLE = WeakTensorKeyDictionary()


def readable(feature: Tensor) -> Tensor:
    """A feature map (N, C, H, W) in float32 and channels-first, converted once.

    RoIAlign would copy a channels-last map at every call. The copy's gradient is summed over the
    calls in float32, and turned back once.
    """
    if feature.dtype == torch.float32 and feature.is_contiguous():
        return feature
    differentiable = torch.is_grad_enabled() and feature.requires_grad
    if differentiable and feature.is_leaf:  # its copy would hold it, and be kept for ever
        return feature.float().contiguous()
    mode = (differentiable, torch.is_inference_mode_enabled())
    kept = _READABLE.get(feature)
    if kept is None or kept[0] != mode:  # a copy made without gradients would cut them
        kept = _READABLE[feature] = mode, feature.float().contiguous()
    return kept[1]


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor, in float32 whatever the features' precision.

    mmdet casts the boxes to the features' type. bfloat16 has 8 significant bits: in a picture of
    1333 pixels a box edge moves by up to 4 pixels, and a rounded small box keeps a mean IoU of
    0.86 with itself. Here the features are widened instead; the heads after it autocast again.
    They are widened once for all extractors of a picture (see :func:`readable`).
    """

    def forward(
        self,
        feats: tuple[torch.Tensor, ...],
        rois: torch.Tensor,
        roi_scale_factor: float | None = None,
    ) -> torch.Tensor:
        """Extracts RoI features.

        Args:
            feats: One map (N, C, H_i, W_i) per pyramid level.
            rois: (K, 5): picture number, then xyxy in pixels of the network's input.
            roi_scale_factor: Enlarges the boxes where given.

        Returns:
            (K, C, size, size) in float32.
        """
        return super().forward(tuple(map(readable, feats)), rois, roi_scale_factor)
