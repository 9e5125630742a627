"""RoI extraction that keeps boxes in float32 under mixed precision."""

import torch
from mmdet.models.roi_heads import BaseRoIExtractor, SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor, nn


def as_roi_align_reads(feature: Tensor) -> Tensor:
    """A feature map (N, C, H, W) in float32 and channels-first: itself where it is that already.

    RoIAlign would copy a channels-last map at every call.
    """
    return feature.float().contiguous()


def converted_once(roi_head: nn.Module, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A pyramid for one pass through a RoI head, whose extractors then convert nothing.

    A cascade reads the same maps with six extractors, each of which would convert them. The copy
    belongs to the caller, who drops it after the pass. Kept beside its map for longer it would go
    stale where the map is written in place (the replay of a CUDA graph does not even count as a
    write), hold memory as long as the map, and tie passes to one graph of gradients.

    Args:
        roi_head: Maps are left as they are where one of its extractors is of another class than
            :class:`Float32RoIExtractor`.
        features: Maps (N, C, H_i, W_i).

    Returns:
        The same, with the levels that the extractors read as :func:`as_roi_align_reads`. Gradients
        of a copy are summed in float32 over the extractors, and turned back once.
    """
    extractors = [part for part in roi_head.modules() if isinstance(part, BaseRoIExtractor)]
    if not all(isinstance(extractor, Float32RoIExtractor) for extractor in extractors):
        return features
    levels = max((extractor.num_inputs for extractor in extractors), default=0)
    return (*map(as_roi_align_reads, features[:levels]), *features[levels:])


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor, in float32 whatever the features' precision.

    mmdet casts the boxes to the features' type. bfloat16 has 8 significant bits: in a picture of
    1333 pixels a box edge moves by up to 4 pixels, and a rounded small box keeps a mean IoU of
    0.86 with itself. Here the features are widened instead; the heads after it autocast again.
    Our RoI heads widen them once for all extractors of a picture (see :func:`converted_once`);
    behind another head every call does so for itself.
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
        return super().forward(tuple(map(as_roi_align_reads, feats)), rois, roi_scale_factor)
