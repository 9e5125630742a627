"""Small models around a ConvNeXt and the builder under test."""

from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from convnext_dense.models.backbone import ConvNeXt

SMALL_DIMS = (4, 8, 16, 32)  # names, shapes' ranks and ids do not depend on the width


def backbone(depths=(1, 1, 4, 1), **kwargs) -> ConvNeXt:
    return ConvNeXt(arch=dict(depths=depths, dims=SMALL_DIMS), **kwargs)


class Detector(nn.Module):
    """The layout of every dense model here: backbone, neck, head."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.backbone = body
        self.neck = nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, 2)


def build(model: nn.Module, wrapper: dict | None = None, **paramwise) -> OptimWrapper:
    """Builds as mmengine's Runner does; `paramwise` overrides rate 0.5, layer_wise."""
    cfg = dict(
        type="OptimWrapper",
        optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
        constructor="LayerDecayOptimWrapperConstructor",
        paramwise_cfg=dict(decay_rate=0.5) | paramwise,
    )
    return build_optim_wrapper(
        model, Config(dict(optim_wrapper=cfg | (wrapper or {}))).optim_wrapper
    )


def by_name(wrapper: OptimWrapper) -> dict[str, dict]:
    """Parameter name to its group."""
    return {name: g for g in wrapper.optimizer.param_groups for name in g["param_names"]}
