"""mmengine's schedules over layer-decayed groups: every ratio holds at every step."""

import math

import pytest
import torch
from decay_models import Detector, backbone, build
from mmengine.registry import PARAM_SCHEDULERS

from convnext_dense.errors import UserError
from convnext_dense.optim import (
    LayerDecayOptimWrapperConstructor,
    PolyRatioLR,
    check_schedule,
    check_schedulers,
)

EPOCHS, PER_EPOCH = 8, 5
STEPS = EPOCHS * PER_EPOCH
WARMUP = dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=6)
AFTER = dict(by_epoch=False, begin=6, end=STEPS)
SCHEDULES = {
    "multi_step": [WARMUP, dict(type="MultiStepLR", milestones=[5, 7], by_epoch=True, end=EPOCHS)],
    "step_in_iterations": [dict(type="StepLR", step_size=2, convert_to_iter_based=True)],
    "poly_to_zero": [WARMUP, dict(type="PolyLR", power=1.0, eta_min=0, **AFTER)],
    "poly_ratio": [WARMUP, dict(type="PolyRatioLR", power=0.9, eta_min_ratio=0.01, **AFTER)],
    "poly_ratio_in_epochs": [
        dict(type="PolyRatioLR", eta_min_ratio=0.1, end=EPOCHS, convert_to_iter_based=True)
    ],
    "cosine_ratio": [WARMUP, dict(type="CosineAnnealingLR", eta_min_ratio=0.01, **AFTER)],
    "cosine_to_zero": [WARMUP, dict(type="CosineAnnealingLR", **AFTER)],
    "restarts": [
        dict(
            type="CosineRestartLR",
            periods=[20, 20],
            restart_weights=[1, 0.5],
            eta_min_ratio=0.1,
            by_epoch=False,
        )
    ],
    "constant_exponential": [
        dict(type="ConstantLR", factor=0.3, by_epoch=False, end=4),
        dict(type="ExponentialLR", gamma=0.7, by_epoch=True),
    ],
}
FLOORED = [WARMUP, dict(type="CosineAnnealingLR", eta_min=1e-4, **AFTER)]


def worst_ratio(schedule: list[dict]) -> float:
    """Largest relative error, over all steps and groups, of lr against lr_scale x base lr."""
    wrapper = build(Detector(backbone()))
    arguments = dict(optimizer=wrapper, epoch_length=PER_EPOCH)
    schedulers = [PARAM_SCHEDULERS.build(dict(cfg), default_args=arguments) for cfg in schedule]
    wrapper.optimizer.step()
    worst, bases = 0.0, set()
    for step in range(STEPS):
        base = wrapper.base_param_settings["lr"]
        bases.add(base)
        for group in wrapper.optimizer.param_groups:
            error = abs(group["lr"] - base * group["lr_scale"])
            worst = max(worst, error / max(base * group["lr_scale"], 1e-12))
        for scheduler in schedulers:
            if not scheduler.by_epoch or (step + 1) % PER_EPOCH == 0:
                scheduler.step()
    assert len(bases) >= 4  # the schedule changes the learning rate
    return worst


@pytest.mark.parametrize("name", SCHEDULES)
def test_ratios_hold_through_warmup_and_decay(name):
    check_schedulers(SCHEDULES[name])
    assert worst_ratio(SCHEDULES[name]) < 1e-9


def test_an_absolute_minimum_destroys_the_ratios_and_is_refused():
    assert worst_ratio(FLOORED) > 1
    expected = r"CosineAnnealingLR: eta_min=0.0001 .* write .*eta_min_ratio=0.1 instead"
    with pytest.raises(UserError, match=expected):
        check_schedulers(FLOORED, base_lr=1e-3)


@pytest.mark.parametrize(
    "scheduler, fix",
    [
        (dict(type="PolyLR", eta_min=1e-6), "type='PolyRatioLR', eta_min_ratio=1e-06 / lr"),
        (dict(type="mmengine.PolyLR", eta_min=1e-6), "type='PolyRatioLR'"),
        (dict(type="CosineRestartLR", eta_min=1e-6), "type='CosineRestartLR', eta_min_ratio="),
        (dict(type="OneCycleLR", eta_max=1e-3), "eta_max=0.001 .* use MultiStepLR, or one of"),
        (dict(type="ReduceOnPlateauLR", min_value=1e-6), "min_value=1e-06 .* use MultiStepLR"),
        (dict(type="PolyParamScheduler", param_name="lr", eta_min=1e-6), "PolyRatioLR"),
        (dict(type=PARAM_SCHEDULERS.get("PolyLR"), eta_min=1e-6), "PolyRatioLR"),
    ],
)
def test_every_absolute_rate_is_refused_with_its_fix(scheduler, fix):
    with pytest.raises(UserError, match=fix):
        check_schedulers([dict(type="LinearLR"), scheduler])
    with pytest.raises(UserError, match=fix):
        check_schedulers(scheduler)


@pytest.mark.parametrize(
    "schedulers",
    [
        None,
        [],
        dict(type="PolyLR", eta_min=0.0),
        [dict(type="CosineAnnealingMomentum", eta_min=0.85)],
        [dict(type="PolyParamScheduler", param_name="weight_decay", eta_min=0.01)],
    ],
)
def test_harmless_schedules_pass(schedulers):
    check_schedulers(schedulers)


def test_only_configs_with_layer_decay_are_held_to_ratios():
    wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3))
    check_schedule(dict(optim_wrapper=wrapper, param_scheduler=FLOORED))
    check_schedule(dict(model=dict()))
    for constructor in ("LayerDecayOptimWrapperConstructor", LayerDecayOptimWrapperConstructor):
        decayed = wrapper | dict(constructor=constructor)
        with pytest.raises(UserError, match="eta_min_ratio=0.1 instead"):
            check_schedule(dict(optim_wrapper=decayed, param_scheduler=FLOORED))
        check_schedule(dict(optim_wrapper=decayed))


@pytest.mark.parametrize("power, ratio", [(1.0, 0.0), (1.0, 0.25), (0.9, 0.01), (2.0, 1.0)])
def test_poly_ratio_is_the_closed_form(power, ratio):
    groups = [dict(params=[torch.zeros(1)], lr=lr) for lr in (1.0, 0.01)]
    optimizer = torch.optim.SGD(groups)
    scheduler = PolyRatioLR(optimizer, eta_min_ratio=ratio, power=power, begin=3, end=23)
    optimizer.step()
    for step in range(30):
        done = min(max(step - 3, 0), 19) / 19
        expected = ratio + (1 - ratio) * (1 - done) ** power
        for group, lr in zip(optimizer.param_groups, (1.0, 0.01), strict=True):
            assert math.isclose(group["lr"], lr * expected, rel_tol=1e-9, abs_tol=1e-12), step
        scheduler.step()


@pytest.mark.parametrize("ratio", [-0.1, 1.5])
def test_poly_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(UserError, match="must be in"):
        PolyRatioLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), eta_min_ratio=ratio)
