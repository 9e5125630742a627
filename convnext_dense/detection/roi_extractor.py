"""RoI extraction that keeps boxes in float32 under mixed precision."""

import torch
from mmdet.models.roi_heads import BaseRoIExtractor, SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor, nn


def to_roi_align_format(feature: Tensor) -> Tensor:
    """Converts a feature map (N, C, H, W) to float32 and channels-first; copies only if needed.

    RoIAlign copies a channels-last feature map at each call.
    """
    return feature.float().contiguous()


def convert_features_once(roi_head: nn.Module, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Converts a feature pyramid for one pass through a RoI head.

    A cascade reads the same feature maps with six extractors, and each would convert them again.
    The caller drops the copy after the pass. A cache of copies would be wrong after a feature map
    is written in place (the replay of a CUDA graph does not even change its version), would hold
    memory as long as the feature map, and would tie several passes to one autograd graph.

    Args:
        roi_head: If one of its extractors is not a :class:`Float32RoIExtractor`, the features are
            returned unchanged.
        features: Feature maps (N, C, H_i, W_i).

    Returns:
        The feature maps; those that the extractors read are converted by
        :func:`to_roi_align_format`. Gradients of a copy are summed over the extractors in float32
        and converted back once.
    """
    extractors = [module for module in roi_head.modules() if isinstance(module, BaseRoIExtractor)]
    if not all(isinstance(extractor, Float32RoIExtractor) for extractor in extractors):
        return features
    levels = max((extractor.num_inputs for extractor in extractors), default=0)
    return (*map(to_roi_align_format, features[:levels]), *features[levels:])


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor, always in float32.

    mmdet casts the boxes to the features' type. bfloat16 has 8 significant bits: in an image of
    1333 pixels a box edge moves by up to 4 pixels, and a rounded small box has a mean IoU of 0.86
    with the box itself. Here the features are converted to float32 instead; autocast applies again
    in the heads. Our RoI heads convert them once for all extractors (see
    :func:`convert_features_once`); with another RoI head each call converts them.
    """

    def forward(
        self,
        feats: tuple[torch.Tensor, ...],
        rois: torch.Tensor,
        roi_scale_factor: float | None = None,
    ) -> torch.Tensor:
        """Extracts RoI features.

        Args:
            feats: One feature map (N, C, H_i, W_i) for each pyramid level.
            rois: (K, 5): image index in the batch, then xyxy in pixels of the network's input.
            roi_scale_factor: Factor by which the boxes are enlarged.

        Returns:
            (K, C, size, size) in float32.
        """
        return super().forward(tuple(map(to_roi_align_format, feats)), rois, roi_scale_factor)
