"""The rows beside ConvNeXt: their backbones, their optimizer, and what they share with ours."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.config.load import load_config
from convnext_dense.data.labels.fit_config import assume_label_classes
from tests import miniature
from tests.datasets import test_labels

DETECTION, SEGMENTATION = miniature.CONFIGS, test_labels.CONFIGS
# name -> our model with the same heads and schedule, first width, blocks, drop path
SWIN = {
    "mask_rcnn_swin_t_3x": ("mask_rcnn_convnext_t_3x", 96, 6, 0.2),
    "cascade_swin_t_3x": ("cascade_convnext_t_3x", 96, 6, 0.2),
    "cascade_swin_s_3x": ("cascade_convnext_s_3x", 96, 18, 0.2),
    "cascade_swin_b_3x": ("cascade_convnext_b_3x", 128, 18, 0.3),
    "cascade_swin_b_in22k_3x": ("cascade_convnext_b_in22k_3x", 128, 18, 0.3),
    "cascade_swin_l_in22k_3x": ("cascade_convnext_l_in22k_3x", 192, 18, 0.3),
    "upernet_swin_t_512_160k": ("upernet_convnext_t_512_160k", 96, 6, 0.3),
    "upernet_swin_s_512_160k": ("upernet_convnext_s_512_160k", 96, 18, 0.3),
    "upernet_swin_b_512_160k": ("upernet_convnext_b_512_160k", 128, 18, 0.3),
    "upernet_swin_b_in22k_640_160k": ("upernet_convnext_b_in22k_640_160k", 128, 18, 0.3),
    "upernet_swin_l_in22k_640_160k": ("upernet_convnext_l_in22k_640_160k", 192, 18, 0.3),
}
RESNET = {
    "cascade_r50_3x": ("ResNet", 50, {}),
    "cascade_x101_32x4d_3x": ("ResNeXt", 101, dict(groups=32, base_width=4)),
    "cascade_x101_64x4d_3x": ("ResNeXt", 101, dict(groups=64, base_width=4)),
}


def load(name):
    folder = SEGMENTATION if name.startswith("upernet") else DETECTION
    return load_config(folder / f"{name}.py")


def check_shared(peer, ours) -> None:
    """Everything but the backbone and the optimizer's rates is ours."""
    for key in ("train_cfg", "param_scheduler", "train_dataloader", "test_dataloader"):
        assert peer[key] == ours[key], key
    for part in ("roi_head", "rpn_head", "train_cfg", "test_cfg", "data_preprocessor"):
        assert peer.model.get(part) == ours.model.get(part), part
    if "decode_head" in ours.model:
        assert peer.model.decode_head == ours.model.decode_head
        assert peer.model.auxiliary_head == ours.model.auxiliary_head
    assert set(peer.model) == set(ours.model)


@pytest.mark.parametrize("name", SWIN)
def test_swin(name):
    twin, width, blocks, drop_path = SWIN[name]
    cfg, ours = load(name), load(twin)
    check_shared(cfg, ours)
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.embed_dims) == ("SwinTransformer", width)
    assert (backbone.depths[2], backbone.drop_path_rate) == (blocks, drop_path)
    assert backbone.window_size == 7 and "arch" not in backbone
    assert ("22k" in backbone.init_cfg.checkpoint) == ("in22k" in name)
    assert backbone.init_cfg.checkpoint.startswith("https://")
    channels = cfg.model.get("neck", cfg.model.get("decode_head")).in_channels
    assert channels == [width * 2**stage for stage in range(4)]
    expected = (6e-5, 0.01) if "upernet" in name else (1e-4, 0.05)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == expected


@pytest.mark.parametrize("name", RESNET)
def test_resnet(name):
    kind, depth, more = RESNET[name]
    cfg = load(name)
    check_shared(cfg, load("cascade_convnext_t_3x"))
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.depth, backbone.frozen_stages) == (kind, depth, 1)
    assert {key: backbone[key] for key in more} == more
    assert cfg.model.neck.in_channels == [256, 512, 1024, 2048]
    assert backbone.init_cfg.checkpoint.startswith("https://")


@pytest.mark.parametrize("name", ["mask_rcnn_swin_t_3x", "upernet_swin_t_512_160k"])
def test_norms_and_position_tables_are_not_decayed(name):
    cfg = load(name)
    assume_label_classes(cfg)
    cfg.model.backbone.update(init_cfg=None, embed_dims=12, depths=[1, 1, 1, 1])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model.backbone)
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for parameter, value in model.named_parameters():
        free = "norm" in parameter or "relative_position_bias_table" in parameter
        assert (decay[id(value)] == 0) == free, parameter
    assert {group["lr"] for group in optimizer.param_groups} == {cfg.optim_wrapper.optimizer.lr}
    outputs = model(torch.zeros(1, 3, 64, 64))
    assert [tuple(o.shape[1:]) for o in outputs] == [
        (12, 16, 16),
        (24, 8, 8),
        (48, 4, 4),
        (96, 2, 2),
    ]
