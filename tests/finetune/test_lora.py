"""Adapters: what they compute and train, plain weights for all who read, exact resumes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import get_state_dict

from convnext_dense.engine import build_runner
from convnext_dense.errors import UserError
from convnext_dense.finetune.lora import use_lora
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier, lora
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.loading import load_pretrained
from tests.exact import assert_equal, assert_same_checkpoints

# A folder of its own (make install): see requirements/lora.txt.
PEFT = Path(sys.prefix, "lora")
if importlib.util.find_spec("peft") is None:
    if not PEFT.is_dir():
        pytest.skip("peft is not installed: make install", allow_module_level=True)
    sys.path.append(str(PEFT))

ARCH = dict(depths=(1, 1, 2, 1), dims=(8, 8, 16, 16))
RANK = 3
IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64).sin()


def plain(**options) -> ConvNeXt:
    torch.manual_seed(0)
    return ConvNeXt(ARCH, layer_scale_init_value=1.0, **options)


def adapted(random: bool = True, **options) -> ConvNeXt:
    model = plain(**options)
    lora.add_adapters(model, RANK)
    if random:  # as after some steps
        for _, layer in lora.adapted_layers(model):
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.3)
    return model


def test_adapters_do_nothing_at_first():
    for one, other in zip(adapted(random=False)(IMAGES), plain()(IMAGES), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_state_is_the_plain_models_with_sums_of_products():
    model, reference = adapted(), plain().state_dict()
    state = model.state_dict()
    assert list(state) == list(reference)
    assert_equal(dict(get_state_dict(model)), dict(state))  # mmengine's own walk
    changed = {name for name in state if not torch.equal(state[name], reference[name])}
    assert changed == {f"{name}.weight" for name, _ in lora.adapted_layers(model)}
    assert len(changed) == 2 * sum(ARCH["depths"])
    for name, layer in lora.adapted_layers(model):
        down, up = (part["default"].weight for part in (layer.lora_A, layer.lora_B))
        assert down.shape[0] == up.shape[1] == RANK
        torch.testing.assert_close(state[f"{name}.weight"], reference[f"{name}.weight"] + up @ down)


@pytest.mark.parametrize("training", [True, False])
def test_a_plain_model_with_the_state_computes_the_same(training):
    """On whichever path: the fast ones must not leave the adapters out."""
    model, other = adapted().train(training), plain().train(training)
    before = other(IMAGES)[3]
    other.load_state_dict(model.state_dict())
    for one, two in zip(model(IMAGES), other(IMAGES), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, other(IMAGES)[3], atol=0.1)


def test_merging_gives_plain_layers():
    model, before = adapted(), adapted().state_dict()
    merged = lora.without_adapters(model)
    assert [type(m) for m in merged.modules()] == [type(m) for m in plain().modules()]
    assert_equal(dict(merged.state_dict()), dict(before))


def test_adapters_norms_behind_the_stages_and_the_head_are_trained():
    model = adapted()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if "lora_" not in name} == {
        f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias")
    }
    assert len(trained) == 8 + 2 * 2 * 5
    classifier = ConvNeXtClassifier(3, ARCH)
    lora.add_adapters(classifier, RANK)
    trained = {n for n, p in classifier.named_parameters() if p.requires_grad and "lora" not in n}
    assert trained == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_frozen_stages_get_no_adapters():
    names = [name for name, _ in lora.adapted_layers(adapted(frozen_stages=2))]
    assert names and {name.split(".")[1] for name in names} == {"2", "3"}
    model = adapted(frozen_stages=2).train()
    sum(y.square().sum() for y in model(IMAGES)).backward()
    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without


def test_loading_plain_weights_resets_the_adapters():
    model, source = adapted(), plain(drop_path_rate=0.1)
    torch.nn.init.normal_(source.stages[0][0].pwconv1.weight)
    model.load_state_dict(source.state_dict())
    assert_equal(dict(model.state_dict()), dict(source.state_dict()))
    load_pretrained(adapted(), source.state_dict())
    report = load_pretrained(model, adapted().state_dict())
    assert "100" in str(report)
    assert_equal(dict(model.state_dict()), dict(adapted().state_dict()))


def test_the_parts_come_back_bit_for_bit():
    source, target = adapted(), adapted(random=False)
    target.load_state_dict(source.state_dict())
    lora.load_adapter_state(target, lora.adapter_state(source))
    named = dict(source.named_parameters())
    for name, parameter in target.named_parameters():
        assert torch.equal(parameter, named[name]), name


@pytest.mark.parametrize(
    "flags",
    [
        dict(lora=2, head_lr_mult=5.0),
        dict(freeze="2", head_lr_mult=5.0),
        dict(freeze="backbone", early_stop=3),
        dict(freeze="stem", lora=2, save_best="loss"),
    ],
    ids=str,
)
def test_four_iterations_are_two_and_two(settle, tmp_path, flags, monkeypatch):
    # Formatting the config for each checkpoint's meta takes longer than the training.
    monkeypatch.setattr(Config, "pretty_text", property(lambda cfg: str(cfg.filename)))

    def train(folder: str, resume: Path | None = None) -> Path:
        cfg = settle(folder, **flags).cfg
        cfg.train_cfg.max_iters = 4
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1)
        if resume:
            cfg.update(resume=True, load_from=str(resume))
        build_runner(cfg).train()
        return tmp_path / folder / "iter_4.pth"

    whole = train("whole")
    files = [whole, train("resumed", whole.with_name("iter_2.pth"))]
    assert_same_checkpoints(*files)
    contents = [read_checkpoint(file) for file in files]
    assert_equal(*(content.get("adapters") for content in contents))
    assert ("adapters" in contents[0]) == ("lora" in flags)
    start = read_checkpoint(tmp_path / "whole/iter_1.pth")["state_dict"]
    moved = {n for n, v in contents[0]["state_dict"].items() if not torch.equal(v, start[n])}
    assert moved and ("backbone.stages.3.0.pwconv1.weight" in moved) == (
        flags.get("freeze") != "backbone"
    )
    assert "backbone.downsample_layers.0.0.weight" not in moved


def test_checkpoints_are_plain_to_all_who_read_them(settle, tmp_path, monkeypatch):
    """A test of the work folder needs no peft, and gives the training's figures again."""
    cfg = settle(lora=2).cfg
    cfg.train_cfg.max_epochs = 2
    build_runner(cfg).train()
    folder = tmp_path / "run"
    content = read_checkpoint(folder / "epoch_2.pth")
    plain_names = set(ConvNeXtClassifier(2, ARCH).state_dict())
    for key in ("state_dict", "state_dict_ema"):
        assert {name.removeprefix("backbone.") for name in content[key]} == plain_names
    best = next(folder.glob("best_*.pth"))
    assert (
        "adapters" not in read_checkpoint(best)
        and best.stat().st_size < (folder / "epoch_2.pth").stat().st_size
    )
    cfg = Config.fromfile(folder / "tiny.py")
    cfg.update(work_dir=str(tmp_path / "test"), load_from=str(folder / "epoch_2.pth"))
    for entry in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg.pop(entry)  # as the command does
    monkeypatch.setattr(lora, "require_peft", lambda: pytest.fail("a test needs no peft"))
    build_runner(cfg).test()
    figures = [json.loads((f / "metrics.json").read_text()) for f in (folder, tmp_path / "test")]
    for name in ("loss", "loss_ema"):
        assert figures[1][name] == pytest.approx(figures[0][name], rel=1e-4)


def test_a_resume_with_other_adapters_is_refused(settle, tmp_path):
    def train(folder="run", **flags):
        cfg = settle(folder, **flags).cfg
        cfg.train_cfg.max_epochs = 1
        cfg.train_dataloader.batch_size = 4
        if (tmp_path / folder / "epoch_1.pth").exists():
            cfg.update(resume=True, load_from=str(tmp_path / folder / "epoch_1.pth"))
        build_runner(cfg).train()

    train(lora=2)
    with pytest.raises(UserError, match="adapters of rank 2, .*: resume with --lora 2"):
        train(lora=3)
    with pytest.raises(UserError, match="parameter.*--lora"):
        train()
    train("other")
    with pytest.raises(UserError, match="no adapters, .*: resume without --lora"):
        train("other", lora=3)


@pytest.mark.parametrize(
    ("backbone", "others", "words"),
    [
        (dict(type="ResNet"), {}, "--lora is for a ConvNeXt with stages.*ResNet"),
        (dict(type="ConvNeXtRoadmap"), {}, "ConvNeXt's blocks, which ConvNeXtRoadmap has not"),
        (dict(type="ConvNeXt", frozen_stages=4), {}, "no block to adapt"),
        (dict(type="ConvNeXt", frozen_stages="backbone"), {}, "no block to adapt"),
        (dict(type="ConvNeXt"), dict(fsdp=True), "leave out --fsdp"),
        (dict(type="ConvNeXt"), dict(custom_hooks=[dict(type="EMAHook")]), "WeightAverageHook"),
    ],
)
def test_what_does_not_go_together_is_refused(backbone, others, words):
    with pytest.raises(UserError, match=words):
        use_lora(Config(dict(model=dict(backbone=backbone), **others)), 4)


def test_ranks_below_1_and_a_missing_peft_are_refused(monkeypatch):
    cfg = Config(dict(model=dict(backbone=dict(type="ConvNeXt"))))
    with pytest.raises(UserError, match="--lora must be at least 1, got 0"):
        use_lora(cfg, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'convnext_dense\[lora\]'"):
        use_lora(cfg, 4)
    assert "lora" not in cfg
