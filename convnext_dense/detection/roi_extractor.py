"""RoI extraction that keeps boxes in float32 under mixed precision, and is fast on a CPU."""

from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads import BaseRoIExtractor, SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_dense.ops.roi_align_rows import roi_align_rows


class RowRoIAlign(RoIAlign):
    """mmcv's RoIAlign; on a CPU computed by :func:`roi_align_rows` where that is possible."""

    def reads_rows(self, feature: Tensor) -> bool:
        """Whether a feature map is read as rows of channels, and so had better be channels-last.

        With a ratio of 0 the number of samples differs between the regions.
        """
        return feature.device.type == "cpu" and self.pool_mode == "avg" and self.sampling_ratio > 0

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pools regions (R, 5) of a feature map (N, C, H, W) to (R, C, *output_size)."""
        if not self.reads_rows(input) or input.dtype != torch.float32:
            return super().forward(input, rois)
        return roi_align_rows(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )


def to_roi_align_format(feature: Tensor, layer: nn.Module) -> Tensor:
    """Converts a feature map (N, C, H, W) to float32 in the layer's format; copies only if needed.

    RoIAlign copies a feature map in another format at each call.
    """
    rows = isinstance(layer, RowRoIAlign) and layer.reads_rows(feature)
    memory_format = torch.channels_last if rows else torch.contiguous_format
    return feature.float().contiguous(memory_format=memory_format)


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
    most = max(extractors, key=lambda extractor: extractor.num_inputs, default=None)
    layers = most.roi_layers if most else ()
    converted = map(to_roi_align_format, features, layers)
    return (*converted, *features[len(layers) :])


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's SingleRoIExtractor, always in float32.

    mmdet casts the boxes to the features' type. bfloat16 has 8 significant bits: in an image of
    1333 pixels a box edge moves by up to 4 pixels, and a rounded small box has a mean IoU of 0.86
    with the box itself. Here the features are converted to float32 instead; autocast applies again
    in the heads. Our RoI heads convert them once for all extractors (see
    :func:`convert_features_once`); with another RoI head each call converts them.
    """

    def build_roi_layers(
        self, layer_cfg: dict[str, Any], featmap_strides: list[int]
    ) -> nn.ModuleList:
        """Builds a pooling layer for each level; RoIAlign is :class:`RowRoIAlign`."""
        if layer_cfg["type"] == "RoIAlign":
            layer_cfg = dict(layer_cfg, type=RowRoIAlign)
        return super().build_roi_layers(layer_cfg, featmap_strides)

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
            (K, C, size, size) in float32; channels-last where :class:`RowRoIAlign` reads rows.
        """
        feats = tuple(map(to_roi_align_format, feats, self.roi_layers))
        first = self.roi_layers[0]
        if not (isinstance(first, RowRoIAlign) and first.reads_rows(feats[0])):
            return super().forward(feats, rois, roi_scale_factor)
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        size = len(rois), self.out_channels, *first.output_size
        regions = torch.zeros(size).contiguous(memory_format=torch.channels_last)
        # A level without regions takes part too: its layers get gradients of 0, as in mmdet.
        for level, (feature, layer) in enumerate(zip(feats, self.roi_layers, strict=True)):
            chosen = (levels == level).nonzero().squeeze(1)
            regions = regions.index_copy(0, chosen, layer(feature, rois[chosen]))
        return regions
