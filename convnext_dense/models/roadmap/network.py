"""Every network between ResNet and ConvNeXt, as a classifier and as a backbone (section 2).

Parameters have ConvNeXt's names wherever it has the layer, so that the last step's state dict is
ConvNeXt's own. The switches and the steps are data, in ``steps.py``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.classifier import new_head
from convnext_dense.models.roadmap.layers import new_downsampling, new_norm, new_stage
from convnext_dense.models.roadmap.steps import REGIMES, Design, Regime, Step, design_at
from convnext_dense.models.signatures import takes_options_of
from convnext_dense.models.staged_network import StagedNetwork, check_out_indices, drop_path_rates
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.loading import find_state_dict

__all__ = [
    "REGIMES",
    "ConvNeXtRoadmap",
    "ConvNeXtRoadmapClassifier",
    "Design",
    "Regime",
    "RoadmapTrunk",
    "Step",
    "design_at",
]
TRUNK = ("downsample_layers.", "stages.")


class RoadmapTrunk(StagedNetwork):
    """Stem and stages after a step of the roadmap.

    Args:
        regime: ``resnet50`` (to ConvNeXt-T) or ``resnet200`` (to ConvNeXt-B).
        step: A name in the regime's steps; all earlier steps are taken too.
        switches: Values of :class:`Design` that differ from the step's.
        num_stages: Stages to build, 1 to 4.
        in_channels: Channels of the input image.
        drop_path_rate: Drop path rate (stochastic depth) of the last block; it grows linearly
            from 0.
        frozen_stages, with_cp: See :class:`StagedNetwork`.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, ema=False)`` with a checkpoint of the
            same step, as classifier or backbone, or any mmengine initialiser.

    Raises:
        UserError: For an unknown name, with the nearest, or an argument out of range.
    """

    def __init__(
        self,
        regime: str = "resnet50",
        step: str = "separate_downsampling",
        switches: Mapping[str, Any] | None = None,
        *,
        num_stages: int = 4,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        frozen_stages: int | str = -1,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        design = design_at(regime, step).changed(switches or {})
        if with_cp and not design.layer_norm:
            raise UserError(
                f"with_cp would count each batch twice in BatchNorm's statistics at the step "
                f"{step!r}: use it from 'layer_norm' on."
            )
        rates = drop_path_rates(drop_path_rate, sum(design.stage_ratio))
        super().__init__(
            depths=design.stage_ratio,
            dims=design.dims,
            downsample_layers=[new_downsampling(design, i, in_channels) for i in range(num_stages)],
            stages=[
                new_stage(design, i, stage.tolist())
                for i, stage in enumerate(rates.split(list(design.stage_ratio))[:num_stages])
            ],
            frozen_stages=frozen_stages,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self.design = design

    def _outer_norm(self, stage: int) -> nn.Module:
        """The norm after a stage; the identity before the step ``separate_downsampling``."""
        if not self.design.separate_downsampling:
            return nn.Identity()
        return new_norm(self.design, self.dims[stage])

    def init_weights(self) -> None:
        """Loads ``init_cfg``'s checkpoint; other initialisers as in mmengine.

        Raises:
            UserError: When the file does not fill the trunk.
        """
        if not (isinstance(self.init_cfg, Mapping) and self.init_cfg.get("type") == "Pretrained"):
            super().init_weights()
            return
        self._load(**{key: value for key, value in self.init_cfg.items() if key != "type"})
        self.is_init = True

    def _load(self, checkpoint: str, ema: bool = False) -> None:
        state, _ = find_state_dict(read_checkpoint(checkpoint), ema)
        state = {name.removeprefix("backbone."): value for name, value in state.items()}
        own = self.state_dict()
        fitting = {n: v for n, v in state.items() if n in own and v.shape == own[n].shape}
        needed = [name for name in own if name.startswith(TRUNK)]
        if lacking := [name for name in needed if name not in fitting]:
            raise UserError(
                f"{checkpoint} is of another step or width: {len(lacking)} of the network's "
                f"{len(needed)} parameters, such as {lacking[0]}, are not in it. Give the "
                "checkpoint's regime and step."
            )
        self.load_state_dict(fitting, strict=False)
        print_log(f"{checkpoint}: {len(fitting)} of {len(own)} parameters loaded.", "current")


@MODELS.register_module()
class ConvNeXtRoadmap(RoadmapTrunk):
    """A step of the roadmap as a four-scale backbone.

    Stage i has 4 x width x 2**i channels before the step ``inverted_bottleneck`` and width x 2**i
    from it on. Output norms ``norm{i}``, as in :class:`ConvNeXt`, come with the last step.

    Args:
        out_indices: Stages to emit, ascending.
        norm_eval: Keep BatchNorm in eval mode, which detectors need with two images per GPU.
        trunk_options: By name: in_channels, drop_path_rate, frozen_stages, with_cp, init_cfg. See
            :class:`RoadmapTrunk`, also for regime, step and switches.

    Raises:
        UserError: For an unknown name, with the nearest, or an argument out of range.
    """

    @takes_options_of(RoadmapTrunk, except_for=("num_stages",))
    def __init__(
        self,
        regime: str = "resnet50",
        step: str = "separate_downsampling",
        switches: Mapping[str, Any] | None = None,
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_eval: bool = False,
        **trunk_options: Any,
    ) -> None:
        emitted = check_out_indices(out_indices)
        self.norm_eval = norm_eval
        super().__init__(regime, step, switches, num_stages=emitted[-1] + 1, **trunk_options)
        self.out_indices = emitted
        for i in emitted:
            self.add_module(f"norm{i}", self._outer_norm(i))
        self.freeze()

    def train(self, mode: bool = True) -> "ConvNeXtRoadmap":
        """Sets the mode; frozen parts and, with ``norm_eval``, BatchNorm stay in eval mode."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps images (N, in_channels, H, W) to a feature map for each emitted stage.

        H and W are at least 32. The feature maps are (N, dims[i], H_i, W_i); a stride rounds up in
        the ResNet stem and in blocks, and down in the patchify stem and in separate downsampling
        layers.
        """
        return tuple(
            self.get_submodule(f"norm{i}")(y)
            for i, y in enumerate(self.stage_maps(x))
            if i in self.out_indices
        )


@MODELS.register_module()
class ConvNeXtRoadmapClassifier(RoadmapTrunk):
    """A step of the roadmap as a classifier: average pooling, a norm in the last step, a head.

    Args:
        num_classes: Outputs of the head.
        trunk_options: By name: in_channels, drop_path_rate, frozen_stages, with_cp, init_cfg. See
            :class:`RoadmapTrunk`, also for regime, step and switches.

    Raises:
        UserError: For an unknown name, with the nearest, or an argument out of range.
    """

    @takes_options_of(RoadmapTrunk, except_for=("num_stages",))
    def __init__(
        self,
        num_classes: int,
        regime: str = "resnet50",
        step: str = "separate_downsampling",
        switches: Mapping[str, Any] | None = None,
        **trunk_options: Any,
    ) -> None:
        super().__init__(regime, step, switches, num_stages=4, **trunk_options)
        self.num_classes = num_classes
        self.norm = self._outer_norm(3)
        self.head = new_head(self.dims[-1], num_classes, init_scale=1.0)
        self.freeze()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images (N, in_channels, H, W) to logits (N, num_classes)."""
        y = self.forward_features(x).mean(dim=(-2, -1), keepdim=True)
        return self.head(self.norm(y).flatten(1))
