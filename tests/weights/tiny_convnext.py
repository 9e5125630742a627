"""Tiny models for the tests of weights, random in every value."""

import torch
from torch import nn

from convnext_dense.models import ConvNeXt

DEPTHS, DIMS = (1, 2, 11, 1), (8, 16, 24, 32)  # 11: block numbers of two digits


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draws every parameter: with a gamma of 1e-6 the blocks would have no effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def backbone(v2: bool = False, seed: int | None = None, **options) -> ConvNeXt:
    """This project's backbone: fresh, or with random values."""
    v2_options = dict(use_grn=True, layer_scale_init_value=0) if v2 else {}
    model = ConvNeXt(**{"arch": dict(depths=DEPTHS, dims=DIMS), **v2_options, **options})
    return model if seed is None else randomise(model, seed)


def official(v2: bool = False, seed: int = 1) -> dict[str, torch.Tensor]:
    """A classifier's state dict as in the release: no output norms; norm, and head of 5 classes."""
    state = backbone(v2, seed).state_dict()
    state = {name: value for name, value in state.items() if not name.startswith("norm")}
    for name, layer in (("norm", nn.LayerNorm(DIMS[3])), ("head", nn.Linear(DIMS[3], 5))):
        values = randomise(layer, seed).state_dict()
        state.update({f"{name}.{key}": value for key, value in values.items()})
    return state
