"""Recipes of SegFormer's head, DeepLabV3+ and Mask2Former: groups, gradients, own data, resume."""

import json

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_shipped
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.optim.layer_decay import is_decayed
from tests.exact import assert_same_checkpoints
from tests.running import run

HEADS = ("segformer", "deeplabv3plus", "mask2former")
SHAPES, ADE = "{}_convnext_a_shapes", "{}_convnext_t_512_160k"
CLASSES = 7


def build(name, **options):
    """A recipe's config and model."""
    cfg = load_config(find_shipped(name), cfg_options=options, amp="off")
    set_num_classes(cfg.model, CLASSES, "the test")
    cfg.model.backbone.pop("init_cfg", None)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(cfg.model)
    return cfg, model.train()


def batch(side=64, count=2):
    samples = []
    for number in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=(side, side)))
        labels = torch.arange(side * side).reshape(1, side, side) // 97 % CLASSES
        labels[:, number * 8 : number * 8 + 8] = 255
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return torch.randn(count, 3, side, side), samples


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_of_a_miniature_has_a_gradient(head):
    _, model = build(SHAPES.format(head))
    inputs, samples = batch()
    sum(v.sum() for k, v in model.loss(inputs, samples).items() if "acc" not in k).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    silent = [n for n, p in model.named_parameters() if not p.grad.abs().max() > 0]
    # What follows a sampling offset of 0 or a softmax over equal inputs may be silent, a head no.
    assert not [name for name in silent if name.startswith("backbone")]


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_groups_of_a_recipe(head):
    """Every parameter once, rates by depth, and what its source does not decay."""
    cfg, model = build(ADE.format(head))
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    named = dict(model.named_parameters())
    of = {name: group for group in groups for name in group.get("param_names", [])}
    assert sorted(n for g in groups for n in g.get("param_names", [])) == sorted(named)
    backbone = 0.1 if head == "mask2former" else 1
    heads = 6 if head == "segformer" else 1
    stem, last = "backbone.downsample_layers.0.0.weight", "backbone.stages.3.0.pwconv1.weight"
    assert of[stem]["lr"] == pytest.approx(1e-4 * backbone * 0.9**7)
    assert of[last]["lr"] == pytest.approx(1e-4 * backbone * 0.9**3)
    embeddings = ("query_embed.weight", "query_feat.weight", "level_embed.weight")
    for name, parameter in named.items():
        if name.startswith("decode_head"):
            assert of[name]["lr"] == pytest.approx(1e-4 * heads), name
            kept = is_decayed(name, parameter) and not name.endswith(embeddings)
            assert of[name]["weight_decay"] == (0.05 if kept else 0), name


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_own_data_from_training_to_prediction(head, streets, tmp_path):
    """Flags alone: fitted, trained, resumed to the bit, tested in several views, predicted."""
    data = ["--images", streets / "images", "--labels", streets / "labels"]
    flags = [SHAPES.format(head), *data, "--seed", 1, "--max-iters", 4, "--work-dir"]
    each = ["--cfg-options", "default_hooks.checkpoint.interval=2"]
    page = run("train", *flags, tmp_path / "dry", *each, "--dry-run")
    assert "heads" in page and f"decode_head {CLASSES}" in page
    run("train", *flags, tmp_path / "run", *each)
    run("train", *flags, tmp_path / "again", *each, "--resume", tmp_path / "run/iter_2.pth")
    assert_same_checkpoints(tmp_path / "again/iter_4.pth", tmp_path / "run/iter_4.pth")
    config = next((tmp_path / "run").glob("*.py"))
    for views in ([], ["--tta"]):
        run("test", config, tmp_path / "run/iter_4.pth", *views, "--work-dir", tmp_path / "test")
        assert "mIoU" in (tmp_path / "test/metrics.json").read_text()
    image = next((streets / "images/val").glob("*.jpg"))
    out = tmp_path / "seen"
    run("predict", tmp_path / "run", image, "--out", out, "--probabilities")
    assert json.loads((out / "results.json").read_text()) if (out / "results.json").exists() else 1
    assert list(out.glob("*_probabilities.npz"))
