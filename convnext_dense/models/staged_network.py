"""The base of networks with four stages: feature maps, freezing, recomputation; no layers."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from timm.models import FeatureInfo
from torch import nn
from torch.utils.checkpoint import checkpoint

from convnext_dense.errors import UserError
from convnext_dense.models.layers import channels_last

STRIDES = (4, 8, 16, 32)
BACKBONE = "backbone"  # of frozen_stages: everything but a head
HEAD = "head"  # a classifier's, inside of the backbone's module


class StagedNetwork(BaseModule):
    """Downsampling layers and stages in turn; the first downsampling layer is the stem.

    Args:
        depths: Blocks of each of the four stages, also of those that are not built.
        dims: Channels of each stage's feature map.
        downsample_layers: The layer before each stage that is built.
        stages: The blocks of each stage that is built.
        frozen_stages: -1 trains everything, 0 freezes the stem, k freezes the stem and the first k
            stages with their downsampling layers; norms after the stages, which pretrained files
            need not contain, train. "backbone" freezes all of it, these norms too, and leaves a
            classifier's head. Frozen parts stay in eval mode, and a training keeps none of their
            activations.
        with_cp: Recompute each block in the backward pass instead of keeping its activations: True
            or "block".
        init_cfg: Any mmengine initialiser.

    Raises:
        UserError: For an argument out of range.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        dims: Sequence[int],
        downsample_layers: Sequence[nn.Module],
        stages: Sequence[nn.Sequential],
        frozen_stages: int | str,
        with_cp: bool | str,
        init_cfg: dict[str, Any] | None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.depths, self.dims = tuple(depths), tuple(dims)
        self.out_indices = tuple(range(len(stages)))
        if frozen_stages != BACKBONE:
            check_range("frozen_stages", frozen_stages, -1, len(self.depths))
        self.frozen_stages = frozen_stages
        if with_cp not in (False, True, "block"):
            raise UserError(f"with_cp must be False, True or 'block' (or 'gelu'), got {with_cp!r}.")
        self.with_cp = with_cp
        self.downsample_layers = nn.ModuleList(downsample_layers)
        self.stages = nn.ModuleList(stages)
        self.apply(init_layer)
        self.freeze()

    def freeze(self) -> None:
        """Takes the gradients of what ``frozen_stages`` names; again, for layers added later."""
        for module in self._frozen_modules():
            module.requires_grad_(False)

    @property
    def feature_info(self) -> FeatureInfo:
        """timm's description of the stages: ``channels()``, ``reduction()``, ``module_name()``."""
        stages = [
            dict(num_chs=self.dims[i], reduction=STRIDES[i], module=f"stages.{i}")
            for i in range(len(self.stages))
        ]
        return FeatureInfo(stages, self.out_indices)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each feature map of ``out_indices``."""
        return tuple(self.dims[i] for i in self.out_indices)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image between two pixels of each feature map of ``out_indices``."""
        return tuple(STRIDES[i] for i in self.out_indices)

    @property
    def num_features(self) -> int:
        """Channels of :meth:`forward_features`."""
        return self.dims[len(self.stages) - 1]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images (N, in_channels, H, W) to the last stage's map, before any norm, as timm."""
        *_, y = self.stage_maps(x)
        return y

    def stage_maps(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields each stage's feature map, (N, dims[i], H_i, W_i) in channels-last memory.

        Args:
            x: (N, in_channels, H, W), H and W at least 32.
        """
        x = channels_last(checked_size(x))
        for number in range(len(self.stages)):
            # Without a graph, frozen blocks take their path for inference, which keeps less.
            graph = not (self.training and self._is_frozen(number)) or x.requires_grad
            with torch.set_grad_enabled(graph and torch.is_grad_enabled()):
                x = run_blocks(self.stages[number], self.downsample_layers[number](x), self.with_cp)
            yield x

    def train(self, mode: bool = True) -> "StagedNetwork":
        """Sets the mode; frozen parts stay in eval mode. Returns self, as every module does."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _is_frozen(self, stage: int) -> bool:
        return self.frozen_stages == BACKBONE or stage < self.frozen_stages

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages == BACKBONE:
            return [module for name, module in self.named_children() if name != HEAD]
        if self.frozen_stages < 0:
            return []
        stages = list(self.stages[: self.frozen_stages])
        return [*self.downsample_layers[: max(1, self.frozen_stages)], *stages]


@torch.fx.wrap  # a symbolic trace calls it, and does not look into it
def checked_size(x: torch.Tensor) -> torch.Tensor:
    """Returns images (N, C, H, W) that are large enough for a map of the last stage.

    Raises:
        UserError: When H or W is below 32.
    """
    height, width = x.shape[-2:]
    if min(height, width) < STRIDES[-1]:
        raise UserError(
            f"ConvNeXt needs images of at least 32 x 32 pixels, got {height} x {width}: "
            "resize or pad them first."
        )
    return x


def drop_path_rates(last: float, blocks: int) -> torch.Tensor:
    """The drop path rate (stochastic depth) of every block: linear from 0 to ``last``.

    Raises:
        UserError: When ``last`` is not in [0, 1].
    """
    check_range("drop_path_rate", last, 0.0, 1.0)
    # On the CPU even where the model is built on the meta device.
    return torch.linspace(0, last, blocks, device="cpu")


def run_blocks(blocks: nn.Sequential, x: torch.Tensor, with_cp: bool | str) -> torch.Tensor:
    """Runs blocks one after another; ``with_cp`` recomputes each in the backward pass."""
    if not (with_cp and torch.is_grad_enabled()):
        return blocks(x)
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False)
    return x


def check_out_indices(out_indices: Sequence[int]) -> tuple[int, ...]:
    """The stages to emit as a tuple.

    Raises:
        UserError: When they are not ascending stages.
    """
    indices = tuple(out_indices)
    if not indices or indices != tuple(sorted(set(indices) & {0, 1, 2, 3})):
        raise UserError(f"out_indices must be ascending numbers out of 0, 1, 2, 3, got {indices}.")
    return indices


def check_range(name: str, value: float, low: float, high: float) -> Any:
    """Returns ``value`` when ``low <= value <= high``; a UserError names it otherwise."""
    if not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{name} must lie between {low} and {high}, got {value!r}.")
    return value


def init_layer(module: nn.Module) -> None:
    """Truncated normal of std 0.02 and zero bias, as the release; norms keep 1 and 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
