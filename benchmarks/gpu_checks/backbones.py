"""Whole backbones with options that matter to their blocks: beside the plain path in float64."""

from functools import partial

import torch

from convnext_dense.models import ConvNeXt

from .cases import BANDS, FLOAT, WIDTH, Case, require, setting
from .check import Check, compare, fused

PICTURE = {"cpu": (33, 40), "cuda": (75, 142)}
BAND = 10 * BANDS[FLOAT]  # the roundings of all layers add up


def check_backbone(device: str, mode: str, **options) -> None:
    """A whole backbone, odd sizes and stochastic depth's rate of 0, with an option that matters."""
    require(device)
    torch.manual_seed(0)
    arch = dict(depths=(1, 1, 1, 1), dims=(WIDTH[device],) * 4)
    model = ConvNeXt(arch, layer_scale_init_value=0.5, **options).train(mode == "train")
    plain = ConvNeXt(arch, layer_scale_init_value=0.5, fast=False).double()
    plain.load_state_dict(model.state_dict())
    draw = torch.Generator().manual_seed(1)
    picture = torch.randn(1, 3, *PICTURE[device], generator=draw)
    results = []
    for one, x in ((model.to(device), picture.to(device)), (plain, picture.double())):
        watched = fused() if one is model else fused(taken=False)
        with setting(Case(), device), torch.set_grad_enabled(mode == "train"), watched:
            maps = one(x)
            found = {f"map {i}": y for i, y in enumerate(maps)}
            if mode == "train":
                wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
                own = [p for n, p in one.named_parameters() if n in wanted]
                # Not of squares: a normalised map's hardly change with anything.
                draw = torch.Generator().manual_seed(2)
                weights = [torch.randn(y.shape, generator=draw).to(y) for y in maps]
                slopes = torch.autograd.grad(maps, own, weights)
                found |= {f"gradient of {n}": g for n, g in zip(wanted, slopes, strict=True)}
        results.append(found)
    compare(*results, BAND)


CHECKS = (
    Check("ways/backbone-eval", partial(check_backbone, mode="eval")),
    Check("ways/backbone-train", partial(check_backbone, mode="train")),
    Check("ways/checkpointed-blocks", partial(check_backbone, mode="train", with_cp=True)),
    Check("ways/checkpointed-gelu", partial(check_backbone, mode="train", with_cp="gelu")),
    Check("ways/frozen-stages", partial(check_backbone, mode="train", frozen_stages=2)),
)
