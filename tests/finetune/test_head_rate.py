"""The learning rate of heads beside the backbone's."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.finetune.head_rate import CONSTRUCTOR, multiply_head_rate
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier
from convnext_dense.optim import LayerDecayOptimWrapperConstructor, group_table

ARCH = dict(depths=(1, 1, 2, 1), dims=(8, 8, 8, 8))


def rates(model: nn.Module, **paramwise) -> dict[str, float]:
    cfg = dict(optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.1))
    wrapper = LayerDecayOptimWrapperConstructor(cfg, dict(decay_rate=0.5, **paramwise))(model)
    groups = wrapper.optimizer.param_groups
    names = [group["group_name"] for group in groups]
    assert len(set(names)) == len(names)
    assert [row["lr_scale"] for row in group_table(wrapper)] == [g["lr"] / 0.1 for g in groups]
    return {name: group["lr"] for group in groups for name in group["param_names"]}


def detector() -> nn.Module:
    parts = dict(backbone=ConvNeXt(ARCH), neck=nn.Conv2d(8, 8, 1), roi_head=nn.Linear(8, 4))
    return nn.ModuleDict(parts)


def classifier() -> nn.Module:
    return nn.ModuleDict(dict(backbone=ConvNeXtClassifier(3, ARCH)))


@pytest.mark.parametrize(
    ("model", "heads"),
    [(detector, ("neck.", "roi_head.")), (classifier, ("backbone.head.",))],
)
def test_heads_alone_are_multiplied(model, heads):
    plain, multiplied = rates(model()), rates(model(), head_lr_mult=10)
    assert set(plain) == set(multiplied)
    for name, rate in plain.items():
        assert multiplied[name] == pytest.approx(rate * (10 if name.startswith(heads) else 1))


def test_other_factors_multiply_too():
    found = rates(detector(), head_lr_mult=10, custom_keys={"neck": dict(lr_mult=0.1)})
    assert found["neck.weight"] == pytest.approx(0.1)
    assert found["roi_head.weight"] == pytest.approx(1.0)


def test_factor_1_changes_no_group():
    assert rates(detector(), head_lr_mult=1.0) == rates(detector())


@pytest.mark.parametrize("factor", [0, -1, float("inf"), float("nan"), "10", True])
def test_wrong_factors_are_refused(factor):
    with pytest.raises(UserError, match="head_lr_mult"):
        rates(detector(), head_lr_mult=factor)


def test_the_flag_needs_the_constructor():
    wrapper = dict(constructor=CONSTRUCTOR, paramwise_cfg=dict(decay_rate=0.9))
    cfg = Config(dict(optim_wrapper=wrapper))
    multiply_head_rate(cfg, 5.0)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=0.9, head_lr_mult=5.0)
    with pytest.raises(UserError, match="above 0, got -1"):
        multiply_head_rate(cfg, -1.0)
    cfg.optim_wrapper.constructor = "DefaultOptimWrapperConstructor"
    with pytest.raises(UserError, match="--head-lr-mult needs .*DefaultOptimWrapperConstructor"):
        multiply_head_rate(cfg, 5.0)


def test_a_step_of_the_heads_is_larger_by_the_factor():
    """With plain gradient descent a step is the rate times the gradient."""
    model = detector()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    cfg = dict(optimizer=dict(type="SGD", lr=0.1, weight_decay=0.0))
    paramwise = dict(decay_rate=1.0, head_lr_mult=7)
    optimizer = LayerDecayOptimWrapperConstructor(cfg, paramwise)(model).optimizer
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        step = 0.1 if name.startswith("backbone.") else 0.7
        torch.testing.assert_close(before[name] - parameter, torch.full_like(parameter, step))
