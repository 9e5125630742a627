"""Whole backbones with options of their blocks, compared with the plain path in float64."""

from functools import partial

import torch

from convnext_dense.models import ConvNeXt

from .cases import FLOAT, TOLERANCES, WIDTH, Case, require, setting
from .check import Check, compare, expect_fused_path

IMAGE_SIZE = {"cpu": (33, 40), "cuda": (75, 142)}
TOLERANCE = 10 * TOLERANCES[FLOAT]  # the roundings of all layers add up


def check_backbone(device: str, mode: str, **options) -> None:
    """A whole backbone with an option that affects its blocks, with odd sizes and no drop path."""
    require(device)
    torch.manual_seed(0)
    arch = dict(depths=(1, 1, 1, 1), dims=(WIDTH[device],) * 4)
    model = ConvNeXt(arch, layer_scale_init_value=0.5, **options).train(mode == "train")
    plain = ConvNeXt(arch, layer_scale_init_value=0.5, fast=False).double()
    plain.load_state_dict(model.state_dict())
    draw = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, *IMAGE_SIZE[device], generator=draw)
    results = []
    for network, x in ((model.to(device), image.to(device)), (plain, image.double())):
        watch = expect_fused_path() if network is model else expect_fused_path(taken=False)
        with setting(Case(), device), torch.set_grad_enabled(mode == "train"), watch:
            maps = network(x)
            result = {f"map {i}": y for i, y in enumerate(maps)}
            if mode == "train":
                trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
                own = [p for n, p in network.named_parameters() if n in trainable]
                # Not of the squares, which hardly change for normalised feature maps.
                draw = torch.Generator().manual_seed(2)
                weights = [torch.randn(y.shape, generator=draw).to(y) for y in maps]
                slopes = torch.autograd.grad(maps, own, weights)
                result |= {f"gradient of {n}": g for n, g in zip(trainable, slopes, strict=True)}
        results.append(result)
    compare(*results, TOLERANCE)


CHECKS = (
    Check("ways/backbone-eval", partial(check_backbone, mode="eval")),
    Check("ways/backbone-train", partial(check_backbone, mode="train")),
    Check("ways/checkpointed-blocks", partial(check_backbone, mode="train", with_cp=True)),
    Check("ways/checkpointed-gelu", partial(check_backbone, mode="train", with_cp="gelu")),
    Check("ways/frozen-stages", partial(check_backbone, mode="train", frozen_stages=2)),
)
