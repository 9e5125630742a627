"""Groups of LayerDecayOptimWrapperConstructor: each one of the release, and each error."""

import csv
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from decay_models import Detector, backbone, build, by_name
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from convnext_dense.errors import UserError
from convnext_dense.models.trunk import VARIANTS
from convnext_dense.optim import layer_id, num_layers

PARITY = Path(__file__).parents[1] / "data" / "layer_decay_groups.csv"
DEPTHS = {"T": VARIANTS["tiny"]["depths"], "S": VARIANTS["small"]["depths"]}


def parity_cases() -> dict[tuple, dict[str, tuple]]:
    """(variant, decay_type, N, rate) -> parameter -> (id, lr scale, weight decay)."""
    cases = {}
    with PARITY.open(newline="") as file:
        for row in csv.DictReader(file):
            case = (
                row["variant"],
                row["decay_type"],
                int(row["num_layers"]),
                float(row["decay_rate"]),
            )
            values = int(row["layer_id"]), float(row["lr_scale"]), float(row["weight_decay"])
            cases.setdefault(case, {})[row["parameter"]] = values
    return cases


CASES = parity_cases()


def test_parity_file_is_complete():
    assert len(CASES) == 8 and sum(map(len, CASES.values())) == 2168


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_groups_equal_the_release(case):
    variant, decay_type, layers, rate = case
    model = Detector(backbone(DEPTHS[variant]))
    wrapper = build(model, decay_type=decay_type, decay_rate=rate, num_layers=layers)
    found = {}
    for name, group in by_name(wrapper).items():
        parts = group["group_name"].split("_", 2)
        assert parts[2] == ("decay" if group["weight_decay"] else "no_decay")
        assert group["lr"] == 1e-3 * group["lr_scale"]
        found[name] = int(parts[1]), group["lr_scale"], group["weight_decay"]
    assert found == CASES[case]  # exact, no tolerance


@pytest.mark.parametrize(
    "arch, expected",
    [
        ("atto", 5),
        ("femto", 5),
        ("pico", 5),
        ("nano", 6),
        ("tiny", 6),
        ("small", 12),
        ("base", 12),
        ("large", 12),
        ("xlarge", 12),
        ("huge", 12),
    ],
)
def test_number_of_layers_of_every_variant(arch, expected):
    assert num_layers(VARIANTS[arch]["depths"]) == expected


def test_every_variant_is_listed_above():
    assert len(VARIANTS) == 10


@pytest.mark.parametrize("third", range(1, 11))
def test_any_depth_gives_every_id_once_in_order(third):
    """No collision and no gap, whatever the depth of the third stage."""
    depths = (2, 1, third, 3)
    ids = [layer_id("downsample_layers.0.0.weight", depths, "layer_wise")]
    for stage, depth in enumerate(depths):
        ids += [layer_id(f"stages.{stage}.{b}.gamma", depths, "layer_wise") for b in range(depth)]
    ids.append(layer_id("norm3.weight", depths, "layer_wise"))
    assert ids == sorted(ids)
    assert set(ids) == set(range(num_layers(depths) + 2))
    assert len({i for i in ids if ids.count(i) > 3}) == 0


def test_stage_wise_leaves_the_upper_ids_unused():
    """As in the release: the deeper the third stage, the lower the backbone's learning rates."""
    scales = {}
    for third in (9, 27):
        group = by_name(build(Detector(backbone((1, 1, third, 1))), decay_type="stage_wise"))
        scales[third] = group["backbone.stages.3.0.gamma"]["lr_scale"]
        stem = group["backbone.downsample_layers.0.0.weight"]
        assert group["backbone.downsample_layers.3.1.weight"] is stem
    assert scales == {9: 0.5**3, 27: 0.5**9}


@pytest.mark.parametrize("use_grn", [False, True])
@pytest.mark.parametrize("frozen_stages", [-1, 0, 2])
def test_each_trainable_parameter_is_in_one_group(use_grn, frozen_stages):
    model = Detector(backbone(use_grn=use_grn, frozen_stages=frozen_stages))
    groups = build(model).optimizer.param_groups
    held = [id(param) for group in groups for param in group["params"]]
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    assert len(held) == len(set(held)) and set(held) == set(trainable)
    for group in groups:
        assert [trainable[id(p)] for p in group["params"]] == group["param_names"]


def test_grn_of_v2_has_no_weight_decay():
    groups = by_name(build(Detector(backbone(use_grn=True, layer_scale_init_value=0))))
    assert groups["backbone.stages.0.0.grn.gamma"]["weight_decay"] == 0
    assert groups["backbone.stages.0.0.grn.beta"]["weight_decay"] == 0


def test_groups_come_by_id_and_decayed_first():
    order = [
        (int(g["group_name"].split("_")[1]), "no_decay" in g["group_name"])
        for g in build(Detector(backbone((1, 1, 27, 1)))).optimizer.param_groups
    ]
    assert order == sorted(order) and len(order) == len(set(order)) == 28


def test_a_bare_backbone_and_a_nested_one_get_the_same_rates():
    body = backbone()
    bare = by_name(build(body))
    nested = by_name(build(nn.ModuleDict(dict(student=Detector(body)))))
    for name, group in bare.items():
        assert nested[f"student.backbone.{name}"]["group_name"] == group["group_name"]
    assert nested["student.head.weight"]["lr_scale"] == 1.0


def test_a_ddp_wrapper_changes_nothing():
    model = Detector(backbone())
    expected = {n: g["group_name"] for n, g in by_name(build(model)).items()}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        wrapped = by_name(build(DistributedDataParallel(model)))
    finally:
        dist.destroy_process_group()
    assert {n: g["group_name"] for n, g in wrapped.items()} == expected


def test_a_compiled_backbone_keeps_its_rates():
    expected = {n: g["group_name"] for n, g in by_name(build(Detector(backbone()))).items()}
    compiled = by_name(build(Detector(torch.compile(backbone()))))
    assert {n.replace("_orig_mod.", ""): g["group_name"] for n, g in compiled.items()} == expected


def test_of_a_teacher_and_a_student_the_one_that_trains_counts():
    model = nn.ModuleDict(dict(teacher=backbone().requires_grad_(False), student=backbone()))
    names = by_name(build(model))
    assert names["student.stages.0.0.gamma"]["lr_scale"] == 0.5**5
    assert not any(name.startswith("teacher") for name in names)


@pytest.mark.parametrize("trainable", [0, 2])
def test_a_model_without_one_trainable_convnext_is_refused_by_name(trainable):
    model = nn.Sequential(nn.Linear(2, 2), *(backbone() for _ in range(trainable)))
    with pytest.raises(UserError, match=f"Sequential has {trainable}"):
        build(model)


def test_a_wholly_frozen_backbone_leaves_the_head():
    model = Detector(backbone().requires_grad_(False))
    names = by_name(build(model))
    assert set(names) == {"neck.weight", "neck.bias", "head.weight", "head.bias"}


def test_custom_keys_multiply_and_the_longest_wins():
    plain = by_name(build(Detector(backbone())))
    keys = {
        "backbone.stages.2": dict(lr_mult=0.1),
        "stages.2.1.pwconv1": dict(lr_mult=0.5, decay_mult=2),
        "norm": dict(decay_mult=3.0),
        "head": dict(lr_mult=10, decay_mult=0.0),
    }
    custom = by_name(build(Detector(backbone()), custom_keys=keys))

    def ratio(name: str) -> tuple[float, float, float]:
        new, old = custom[name], plain[name]
        assert new["lr"] == pytest.approx(1e-3 * new["lr_scale"])
        return new["lr_scale"] / old["lr_scale"], new["weight_decay"], old["weight_decay"]

    assert ratio("backbone.stages.2.1.pwconv1.weight") == (0.5, 0.1, 0.05)
    assert ratio("backbone.stages.2.1.pwconv1.bias") == (0.5, 0.0, 0.0)
    assert ratio("backbone.stages.2.1.pwconv2.weight") == (pytest.approx(0.1), 0.05, 0.05)
    assert ratio("backbone.stages.1.0.norm.weight") == (1.0, 0.0, 0.0)
    assert ratio("head.weight") == (10.0, 0.0, 0.05)
    assert ratio("neck.weight") == (1.0, 0.05, 0.05)
    assert len({id(group) for group in custom.values()}) > len({id(g) for g in plain.values()})


def test_custom_keys_of_one_length_go_by_the_alphabet():
    keys = {"weight": dict(lr_mult=0.5), "head.w": dict(lr_mult=0.25)}
    assert by_name(build(Detector(backbone()), custom_keys=keys))["head.weight"]["lr_scale"] == 0.25


@pytest.mark.parametrize(
    "paramwise, message",
    [
        (dict(decay_rte=0.7), "unknown key 'decay_rte' in paramwise_cfg; known: decay_rate, decay"),
        (dict(norm_decay_mult=0.0), "unknown key 'norm_decay_mult'"),
        (dict(decay_type="layerwise"), "'layerwise'; known: layer_wise, stage_wise"),
        (dict(decay_rate=0), r"decay_rate must be a number in \(0, 1\]"),
        (dict(decay_rate=1.1), r"got 1.1"),
        (dict(decay_rate=None), r"got None"),
        (dict(decay_rate="0.7"), r"got '0.7'"),
        (dict(num_layers=6), r"num_layers=6 does not fit .*\(1, 1, 4, 1\), which has 5"),
        (dict(custom_keys=dict(heed=dict(lr_mult=2))), "'heed' is part of no parameter's name"),
        (dict(custom_keys=dict(head=dict(lr_mul=2))), "'lr_mul' in .*; known: lr_mult, decay_mult"),
        (dict(custom_keys=dict(head=dict(lr_mult=-1))), "lr_mult must be a number >= 0, got -1"),
        (dict(custom_keys=dict(head=2)), "to a dict, got 2"),
        (dict(custom_keys=["head"]), r"custom_keys must be a dict, got \['head'\]"),
    ],
)
def test_wrong_settings_are_refused(paramwise, message):
    with pytest.raises(UserError, match=message):
        build(Detector(backbone()), **paramwise)


def test_a_missing_rate_is_refused():
    cfg = dict(
        optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
        constructor="LayerDecayOptimWrapperConstructor",
    )
    with pytest.raises(UserError, match="decay_rate must be a number"):
        build_optim_wrapper(Detector(backbone()), cfg)


@pytest.mark.parametrize("missing", ["lr", "weight_decay"])
def test_the_optimizer_must_state_its_rate_and_decay(missing):
    optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.05)
    del optimizer[missing]
    with pytest.raises(UserError, match=f"as '{missing}' for layer decay, got None"):
        build(Detector(backbone()), dict(optimizer=optimizer))


def test_the_wrapper_and_the_optimizer_are_those_of_the_config():
    class Counting(OptimWrapper):
        pass

    OPTIM_WRAPPERS.register_module(module=Counting, name="CountingForTest")
    try:
        settings = dict(
            type="CountingForTest",
            optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=True),
            clip_grad=dict(max_norm=2.0),
            accumulative_counts=3,
        )
        wrapper = build(Detector(backbone()), settings)
    finally:
        OPTIM_WRAPPERS.module_dict.pop("CountingForTest")
    assert type(wrapper) is Counting and type(wrapper.optimizer) is torch.optim.SGD
    assert wrapper.clip_grad_kwargs == dict(max_norm=2.0) and wrapper._accumulative_counts == 3
    group = wrapper.optimizer.param_groups[0]
    assert (group["foreach"], group["momentum"], group["weight_decay"]) == (True, 0.9, 1e-4)


def test_a_step_moves_each_group_by_its_own_rate():
    """AdamW's first step is lr x sign(gradient), so it shows each group's learning rate."""
    model = Detector(backbone())
    optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.0)
    wrapper = build(model, dict(optimizer=optimizer))
    groups = by_name(wrapper)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    wrapper.step()
    for name, param in model.named_parameters():
        moved = (before[name] - param.detach()).mean().item()
        assert moved == pytest.approx(groups[name]["lr"], rel=1e-3), name


def test_a_checkpoint_of_the_optimizer_is_safe_to_read(tmp_path):
    """Groups built from a config file hold plain types only, which weights_only accepts."""
    wrapper = build(Detector(backbone()), custom_keys=dict(head=dict(lr_mult=2.0)))
    state = wrapper.optimizer.state_dict()
    torch.save(state, tmp_path / "optimizer.pth")
    assert torch.load(tmp_path / "optimizer.pth", weights_only=True) == state
