"""Recipes on weights of V2 and DINOv3: what they set; two steps and a test of each, made small."""

import re
from pathlib import Path

import pytest
import torch

from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_shipped, shipped_configs
from convnext_dense.models import VARIANTS, ConvNeXt
from convnext_dense.models.staged_network import BACKBONE
from convnext_dense.weights import ZOO, load_pretrained, read_checkpoint
from tests.running import run

LEAVES = sorted(
    name
    for name in shipped_configs()
    if re.search("convnext_[tb]_", name) and ("_v2" in name or "_dinov3" in name)
)
ATTO = VARIANTS["atto"]["dims"]
SEGMENTOR = """
_base_ = [{leaf!r}]
crop_size, scale = (64, 64), (256, 64)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(arch="atto"),
    decode_head=dict(in_channels={channels}{thin}),
    test_cfg=dict(crop_size=crop_size, stride=(43, 43)),
)
{auxiliary}
sizes = dict(
    RandomResize=dict(scale=scale), RandomCrop=dict(crop_size=crop_size), Resize=dict(scale=scale)
)
train_pipeline = [dict(step, **sizes.get(step["type"], {{}})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **sizes.get(step["type"], {{}})) for step in _base_.test_pipeline]
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
"""
DETECTOR = """
_base_ = [{leaf!r}]
model = dict(
    backbone=dict(arch="atto"),
    neck=dict(in_channels={channels}),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=100, max_per_img=50), rcnn=dict(sampler=dict(num=16))
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50)),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(128, 96), keep_ratio=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [dict(step) for step in _base_.test_pipeline]
test_pipeline[1] = dict(type="Resize", scale=(128, 96), keep_ratio=True)
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
"""


def small(leaf: str, folder: Path) -> Path:
    """The leaf with a small backbone and small images, as a config of its own."""
    path, cfg = find_shipped(leaf), load_config(find_shipped(leaf))
    if cfg.model.get("neck"):
        text = DETECTOR.format(leaf=str(path), channels=list(ATTO))
    else:
        head, auxiliary = cfg.model.decode_head, cfg.model.auxiliary_head
        channels = [ATTO[3]] if len(head.in_channels) == 1 else list(ATTO)
        text = SEGMENTOR.format(
            leaf=str(path),
            channels=channels,
            thin="" if head.type == "LinearHead" else ", channels=16",
            auxiliary=f"model['auxiliary_head'] = dict(in_channels={ATTO[2]}, channels=16)"
            if auxiliary
            else "",
        )
    (folder / "small.py").write_text(text)
    return folder / "small.py"


def weights_file(leaf: str, folder: Path) -> Path:
    """A file as the recipe's: V2's as Meta's, DINOv3's as the Hub's, of random values."""
    from safetensors.torch import save_file

    if "_v2_" in leaf:
        timm = pytest.importorskip("timm")
        torch.save({"model": timm.create_model("convnextv2_atto").state_dict()}, folder / "v2.pt")
        return folder / "v2.pt"
    library = pytest.importorskip("transformers")
    config = library.DINOv3ConvNextConfig(
        hidden_sizes=list(ATTO), depths=list(VARIANTS["atto"]["depths"])
    )
    model = library.DINOv3ConvNextModel(config)
    torch.nn.init.normal_(model.layer_norm.weight, 1, 0.1)
    save_file(model.state_dict(), folder / "dinov3.safetensors")
    return folder / "dinov3.safetensors"


@pytest.mark.parametrize("leaf", LEAVES)
def test_what_a_recipe_sets(leaf):
    cfg = load_config(find_shipped(leaf))
    backbone, start = cfg.model.backbone, cfg.model.backbone.init_cfg
    size = {"t": "tiny", "b": "base"}[leaf.split("convnext_")[1][0]]
    known = ZOO[start.checkpoint]
    assert size in start.checkpoint and backbone.arch == size
    for name in ("mean", "std"):
        expected = getattr(known.normalisation, name)
        assert cfg.model.data_preprocessor[name] == pytest.approx(list(expected))
    frozen = "_frozen_" in leaf
    assert (backbone.get("frozen_stages", -1) == BACKBONE) == frozen
    assert (cfg.optim_wrapper.paramwise_cfg.decay_rate == 1) == frozen
    assert start.get("final_norm_to_norm3", False) == ("dinov3" in leaf)
    dims = VARIANTS[size]["dims"]
    emitted = backbone.get("out_indices", (0, 1, 2, 3))
    read = cfg.model.neck if cfg.model.get("neck") else cfg.model.decode_head
    assert list(read.in_channels) == [dims[i] for i in emitted]


@pytest.mark.slow
@pytest.mark.parametrize("leaf", LEAVES)
def test_two_steps_and_a_test(leaf, tmp_path, request):
    """From a file of the same library, which is trained or left alone as the name says."""
    config, file = small(leaf, tmp_path), weights_file(leaf, tmp_path)
    if leaf.startswith("mask_rcnn"):
        birds = request.getfixturevalue("birds")
        data = ["--train-json", birds / "train.json", "--val-json", birds / "val.json"]
        data += ["--images", birds / "images"]
    else:
        streets = request.getfixturevalue("streets")
        data = ["--images", streets / "images", "--labels", streets / "labels"]
    work = tmp_path / "run"
    said = run(
        "train", config, *data, "--backbone-weights", file, "--max-iters", 2, "--work-dir", work
    )
    assert f"the backbone's of {file}" in " ".join(said.split())
    state = read_checkpoint(work / "iter_2.pth")["state_dict"]
    model = load_config(config).model.backbone
    ours = ConvNeXt(**{k: v for k, v in model.items() if k not in ("type", "init_cfg")})
    load_pretrained(ours, file, final_norm_to_norm3="dinov3" in leaf)
    equal = {
        name: torch.equal(value, state[f"backbone.{name}"])
        for name, value in ours.state_dict().items()
    }
    assert all(equal.values()) == ("_frozen_" in leaf)
    run("test", work / "small.py", work / "iter_2.pth", "--work-dir", tmp_path / "test")
