"""ConvNeXt as an image classifier: global average pooling, norm and a linear head on the trunk."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.models.signatures import takes_options_of
from convnext_dense.models.staged_network import init_layer
from convnext_dense.models.trunk import Trunk


@MODELS.register_module()
class ConvNeXtClassifier(Trunk):
    """The trunk of :class:`ConvNeXt` with ``norm`` and ``head`` on top (paper, section 3).

    Its checkpoints start detectors and segmentors: the trunk's names are the same.

    Args:
        num_classes: Outputs of the head.
        arch: A name in ``VARIANTS``, or ``dict(depths=..., dims=...)`` of four integers each.
        head_init_scale: Factor on the head's initial weights (.001 in fine-tuning: table 6).
        trunk_options: By name: in_channels, drop_path_rate, layer_scale_init_value, frozen_stages,
            with_cp, use_grn, fast, half_stream, init_cfg. See :class:`Trunk`.

    Raises:
        UserError: For an unknown variant or an argument out of range.
    """

    @takes_options_of(Trunk, except_for=("num_stages",))
    def __init__(
        self,
        num_classes: int,
        arch: str | Mapping[str, Sequence[int]] = "tiny",
        *,
        head_init_scale: float = 1.0,
        **trunk_options: Any,
    ) -> None:
        super().__init__(arch, num_stages=4, **trunk_options)
        self.num_classes = num_classes
        self.norm = nn.LayerNorm(self.dims[-1], eps=1e-6)
        self.head = new_head(self.dims[-1], num_classes, head_init_scale)
        self.freeze()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.head(self.norm(self.forward_features(x).mean(dim=(-2, -1))))


def new_head(dim: int, num_classes: int, init_scale: float) -> nn.Linear:
    """A linear head with the release's initial values, all of them times ``init_scale``."""
    head = nn.Linear(dim, num_classes)
    init_layer(head)
    with torch.no_grad():
        head.weight.mul_(init_scale)
        head.bias.mul_(init_scale)
    return head
