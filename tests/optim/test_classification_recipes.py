"""Layer decay of classifiers, and the schedule of the classification recipes."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXtClassifier, IsotropicConvNeXt
from tests.optim.decay_models import SMALL_DIMS, build, by_name


@pytest.mark.parametrize(("depth", "n"), [(9, 6), (27, 12), (6, 5), (8, 6)])
def test_every_hierarchical_variant_has_groups_of_three(depth, n):
    model = ConvNeXtClassifier(3, dict(depths=(3, 3, depth, 3), dims=SMALL_DIMS))
    names = by_name(build(nn.ModuleDict(dict(backbone=model))))

    def layer(name: str) -> int:
        return round(n + 1 + math.log2(names[f"backbone.{name}"]["lr_scale"]))

    assert layer("downsample_layers.0.0.weight") == 0
    assert [layer(f"stages.2.{b}.gamma") for b in range(depth)] == [
        3 + b // 3 for b in range(depth)
    ]
    assert layer("stages.3.0.gamma") == n
    assert layer("norm.weight") == layer("head.weight") == n + 1


@pytest.mark.parametrize(("depth", "n"), [(18, 6), (36, 12), (4, 2)])
def test_the_isotropic_one_too(depth, n):
    model = IsotropicConvNeXt(3, dict(depth=depth, dim=8), layer_scale_init_value=1.0)
    names = by_name(build(nn.ModuleDict(dict(backbone=model))))

    def layer(name: str) -> int:
        return round(n + 1 + math.log2(names[f"backbone.{name}"]["lr_scale"]))

    assert layer("stem.weight") == layer("stem.bias") == 0
    assert [layer(f"blocks.{b}.dwconv.weight") for b in range(depth)] == [
        1 + b // 3 for b in range(depth)
    ]
    assert layer("norm.weight") == layer("head.bias") == n + 1
    assert names["backbone.blocks.0.gamma"]["weight_decay"] == 0
    assert names["backbone.blocks.0.pwconv1.weight"]["weight_decay"] == 0.05


def test_without_decay_any_model_has_two_groups():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    groups = build(model, decay_rate=1.0).optimizer.param_groups
    assert [(g["weight_decay"], sorted(g["param_names"])) for g in groups] == [
        (0.05, ["0.weight"]),
        (0.0, ["0.bias", "1.bias", "1.weight"]),
    ]


def rates(batches: int, epochs: int = 5, per_epoch: int = 4, warmup: int = 2, **kwargs) -> list:
    """The learning rates of every batch of a training, for groups with lr 1 and 0.1."""
    groups = [dict(params=[torch.zeros(1, requires_grad=True)], lr=lr) for lr in (1.0, 0.1)]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=1.0), accumulative_counts=batches)
    schedule = PARAM_SCHEDULERS.build(
        dict(
            type="WarmupCosineLR",
            warmup=warmup,
            end=epochs,
            by_epoch=True,
            convert_to_iter_based=True,
            **kwargs,
        ),
        default_args=dict(optimizer=wrapper, epoch_length=per_epoch * batches),
    )
    seen = []
    for _ in range(epochs * per_epoch * batches):
        seen.append([group["lr"] for group in groups])
        schedule.step()
    return seen


def test_warmup_and_cosine_are_the_releases():
    # the release's lists: linspace over the warmup, then a cosine over the rest
    warmup, rest, low = 8, 12, 0.25
    expected = [i / (warmup - 1) for i in range(warmup)]
    expected += [low + 0.5 * (1 - low) * (1 + math.cos(math.pi * i / rest)) for i in range(rest)]
    seen = rates(1, eta_min_ratio=low)
    assert [fast for fast, _ in seen] == pytest.approx(expected)
    assert [slow for _, slow in seen] == pytest.approx([0.1 * rate for rate in expected])
    assert seen[0] == [0, 0]


def test_accumulated_batches_share_the_rate_of_their_step():
    assert rates(3)[::3] == rates(3)[2::3] == rates(1)


def test_without_warmup_it_starts_at_the_full_rate():
    assert rates(1, warmup=0)[0] == [1.0, 0.1]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [(dict(warmup=5), "shorter than the training"), (dict(eta_min_ratio=2), "eta_min_ratio")],
)
def test_wrong_schedules_are_refused(kwargs, message):
    with pytest.raises((UserError, ValueError), match=message):
        rates(1, **kwargs)
