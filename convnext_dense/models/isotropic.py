"""The isotropic ConvNeXt: one resolution from the stem to the head, like a ViT (section 3.3)."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.block import Block
from convnext_dense.models.classifier import new_head
from convnext_dense.models.layers import channels_last
from convnext_dense.models.staged_network import drop_path_rates, init_layer, run_blocks

# Blocks and channels (section 3.3): the widths of ViT-S, B and L.
ISOTROPIC_VARIANTS: dict[str, dict[str, int]] = {
    "small": dict(depth=18, dim=384),
    "base": dict(depth=18, dim=768),
    "large": dict(depth=36, dim=1024),
}
PATCH_SIZE = 16


@MODELS.register_module()
class IsotropicConvNeXt(BaseModule):
    """A 16x16 stride-16 stem, equal blocks, pooling, norm and head.

    Args:
        num_classes: Outputs of the head.
        arch: A name in ``ISOTROPIC_VARIANTS``, or ``dict(depth=..., dim=...)``.
        in_channels: Channels of the input image.
        drop_path_rate: Drop path rate (stochastic depth) of the last block; it grows linearly
            from 0.
        layer_scale_init_value: Initial gamma of every block; 0, which the paper has for small and
            base, builds blocks without gamma.
        head_init_scale: Factor on the head's initial weights.
        with_cp: Recompute each block in the backward pass instead of keeping its activations.
        init_cfg: Any mmengine initialiser.

    Raises:
        UserError: For an unknown variant, or a drop path rate out of range.
    """

    def __init__(
        self,
        num_classes: int,
        arch: str | Mapping[str, int] = "small",
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 0.0,
        head_init_scale: float = 1.0,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        depth, dim = _parse_arch(arch)
        self.depths = (depth,)  # one stage
        self.num_classes = num_classes
        self.with_cp = with_cp
        self.stem = nn.Conv2d(in_channels, dim, kernel_size=PATCH_SIZE, stride=PATCH_SIZE)
        self.blocks = nn.Sequential(
            *(
                Block(dim, drop_path=drop_path, layer_scale_init_value=layer_scale_init_value)
                for drop_path in drop_path_rates(drop_path_rate, depth).tolist()
            )
        )
        self.apply(init_layer)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = new_head(dim, num_classes, head_init_scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images (N, in_channels, H, W), at least 16 x 16, to logits (N, num_classes)."""
        if min(x.shape[-2:]) < PATCH_SIZE:
            height, width = x.shape[-2:]
            raise UserError(
                f"The isotropic ConvNeXt needs images of at least {PATCH_SIZE} x {PATCH_SIZE} "
                f"pixels, got {height} x {width}: resize them first."
            )
        x = self.stem(channels_last(x))
        x = run_blocks(self.blocks, x, self.with_cp)
        return self.head(self.norm(x.mean(dim=(-2, -1))))


def _parse_arch(arch: str | Mapping[str, int]) -> tuple[int, int]:
    if isinstance(arch, str):
        if arch not in ISOTROPIC_VARIANTS:
            raise UserError(
                f"Unknown isotropic ConvNeXt {arch!r}: choose one of "
                f"{', '.join(ISOTROPIC_VARIANTS)}."
            )
        arch = ISOTROPIC_VARIANTS[arch]
    if set(arch) != {"depth", "dim"}:
        raise UserError(f"arch must be a name or dict(depth=..., dim=...), got {arch!r}.")
    return arch["depth"], arch["dim"]
