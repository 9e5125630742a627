"""The head of a linear probe: how far a backbone's maps tell classes apart by themselves."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from convnext_dense.models.signatures import takes_options_of


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """A batch norm and one linear layer for each place, as DINOv3's linear segmentation has them.

    Several maps are resized to the size of the first and put side by side. Dropout zeroes whole
    channels in training.

    Source: DINOv3 (arXiv 2508.10104), ``eval/segmentation`` of its release.

    Args:
        in_channels: Channels of the maps, a number each; one map is a list of one.
        norm_cfg: The norm before the layer.
        head_options: By name: in_index, num_classes, dropout_ratio, loss_decode ... of
            mmsegmentation's ``BaseDecodeHead``.
    """

    @takes_options_of(BaseDecodeHead, except_for=("channels", "input_transform"))
    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        norm_cfg: dict[str, Any],
        **head_options: Any,
    ) -> None:
        super().__init__(
            in_channels=list(in_channels),
            channels=sum(in_channels),
            input_transform="resize_concat",
            norm_cfg=norm_cfg,
            **head_options,
        )
        _, self.norm = build_norm_layer(norm_cfg, self.in_channels)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Maps feature maps (N, C_i, H_i, W_i) to scores (N, classes, H_0, W_0)."""
        return self.cls_seg(self.norm(self._transform_inputs(inputs)))
