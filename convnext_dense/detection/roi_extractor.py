"""RoI extraction that keeps boxes in float32 under mixed precision."""

import torch
from mmdet.models.roi_heads import SingleRoIExtractor
from mmengine.registry import MODELS


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor, in float32 whatever the features' precision.

    mmdet casts the boxes to the features' type. bfloat16 has 8 significant bits: in a picture of
    1333 pixels a box edge moves by up to 4 pixels, and a rounded small box keeps a mean IoU of
    0.86 with itself. Here the features are widened instead; the heads after it autocast again.
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
        return super().forward(tuple(feat.float() for feat in feats), rois, roi_scale_factor)
