"""Frozen parts: what trains, what a step keeps, what the config says."""

import pytest
import torch
from mmengine.config import Config

from convnext_dense.errors import UserError
from convnext_dense.finetune.freeze import FROZEN_STAGES, describe_frozen, freeze
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier
from convnext_dense.optim import LayerDecayOptimWrapperConstructor

ARCH = dict(depths=(1, 1, 2, 1), dims=(8, 8, 16, 16))
# What is frozen at each value of the flag, by the beginning of its name.
FROZEN = {
    "none": (),
    "stem": ("downsample_layers.0.",),
    "1": ("downsample_layers.0.", "stages.0."),
    "2": ("downsample_layers.0.", "downsample_layers.1.", "stages.0.", "stages.1."),
    "3": (*(f"{part}.{i}." for part in ("downsample_layers", "stages") for i in range(3)),),
    "4": ("downsample_layers.", "stages."),
    "backbone": ("downsample_layers.", "stages.", "norm"),
}
IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64).sin()


def build(kind, part: str):
    torch.manual_seed(0)
    extra = dict(num_classes=3) if kind is ConvNeXtClassifier else {}
    stages = FROZEN_STAGES[part]
    return kind(arch=ARCH, layer_scale_init_value=1.0, frozen_stages=stages, **extra).train()


def gradients(model) -> dict[str, torch.Tensor]:
    outputs = model(IMAGES)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = sum(y.square().sum() for y in outputs)
    if loss.requires_grad:
        loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", [ConvNeXt, ConvNeXtClassifier])
@pytest.mark.parametrize("part", FROZEN)
def test_what_is_not_frozen_gets_the_gradient_that_it_has_anyway(kind, part):
    model = build(kind, part)
    frozen = {n for n, p in model.named_parameters() if n.startswith(FROZEN[part])}
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == frozen
    found, reference = gradients(model), gradients(build(kind, "none"))
    assert set(found) == set(reference) - frozen
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, reference[name], rtol=1e-4, atol=1e-5)


def test_a_step_keeps_nothing_of_frozen_stages_and_begins_to_keep_behind_them():
    kept = {}
    for part in FROZEN:
        model, sizes = build(ConvNeXt, part), []

        def keep(tensor, sizes=sizes):
            if not isinstance(tensor, torch.nn.Parameter):
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(IMAGES)
        kept[part] = sum(sizes)
    counts = list(kept.values())
    assert counts == sorted(counts, reverse=True) and counts[-1] == 0
    assert kept["1"] < kept["none"] / 2  # the first stage has the largest feature maps


def test_images_that_need_a_gradient_get_it_through_frozen_stages():
    images = IMAGES.clone().requires_grad_()
    build(ConvNeXt, "4")(images)[3].square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_frozen_parts_have_no_state_in_the_optimizer_and_stay_bit_for_bit():
    model = torch.nn.ModuleDict(dict(backbone=build(ConvNeXtClassifier, "backbone")))
    cfg = dict(optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.1))
    optimizer = LayerDecayOptimWrapperConstructor(cfg, dict(decay_rate=0.9))(model).optimizer
    before = {name: p.clone() for name, p in model.named_parameters()}
    gradients(model.backbone)
    optimizer.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"backbone.head.weight", "backbone.head.bias"}
    assert len(optimizer.state) == 2


def test_drop_path_rests_in_frozen_stages():
    rates = dict(drop_path_rate=0.9)
    model = ConvNeXt(ARCH, frozen_stages="backbone", layer_scale_init_value=1.0, **rates).train()
    assert torch.equal(model(IMAGES)[3], model(IMAGES)[3])
    assert not any(module.training for part in model.children() for module in part.modules())


def test_the_flag_is_an_entry_of_the_config():
    for part, stages in FROZEN_STAGES.items():
        cfg = Config(dict(model=dict(backbone=dict(type="ConvNeXt"))))
        freeze(cfg, part)
        assert cfg.model.backbone.frozen_stages == stages
        assert bool(describe_frozen(cfg.model.backbone)) == (part != "none")


@pytest.mark.parametrize("backbone", [dict(type="SwinTransformer"), dict(type="IsotropicConvNeXt")])
def test_another_backbone_is_refused(backbone):
    with pytest.raises(UserError, match=f"--freeze is for a ConvNeXt.*{backbone['type']}"):
        freeze(Config(dict(model=dict(backbone=backbone))), "2")
