"""Checkpoints of random weights, as runs write them: a config inside, classes named."""

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.config.load import load_config
from convnext_dense.data.coco.mask_branch import drop_mask_branch
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.data.shapes.drawing import CLASSES
from convnext_dense.models import ConvNeXtClassifier
from convnext_dense.tasks import task_of

LIVELY = ("fc_cls", "conv_seg")  # layers that start close to 0
# With it ReLU leaves nothing of the RPN's features in many places: their anchors have one score.
RPN_BIAS = -2.1
# A backbone of four blocks, so that tracing it takes seconds.
SMALL = dict(_delete_=True, depths=[1, 1, 1, 1], dims=[16, 24, 32, 48])
DETECTOR = {"model.backbone.arch": SMALL, "model.neck.in_channels": [16, 24, 32, 48]}
SEGMENTOR = {
    "model.backbone.arch": SMALL,
    "model.decode_head.in_channels": [16, 24, 32, 48],
    "model.auxiliary_head.in_channels": 32,
}
CONFIGS = Path(__file__).parents[2] / "configs"
NO_DATA = "nowhere"  # a data root without data: exports then compare on drawn images


def channels(count: int) -> dict:
    """Options of a model for images of some channels."""
    step = dict(type="LoadImage", channels=count)
    return {
        "model.backbone.in_channels": count,
        "model.data_preprocessor.mean": [90.0 + channel for channel in range(count)],
        "model.data_preprocessor.std": [50.0] * count,
        "model.data_preprocessor.bgr_to_rgb": False,
        "test_dataloader.dataset.pipeline.0": step,
    }


def write_checkpoint(
    path: Path,
    config: str,
    options: dict[str, Any] | None = None,
    names: tuple[str, ...] = CLASSES[:3],
    has_masks: bool = True,
) -> Path:
    """Writes a dense model's checkpoint; layers that start at 0 are made to do something."""
    cfg = load_config(
        CONFIGS / f"{config}.py", data_root=path.parent / NO_DATA, cfg_options=options
    )
    task = task_of(cfg)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        cfg.model.backbone.init_cfg = None
        set_num_classes(cfg.model, len(names), "the test")
        if not has_masks:
            drop_mask_branch(cfg)
        if cfg.model.backbone.get("in_channels", 3) != 3:
            task.use_channels(cfg)
        model = MODELS.build(cfg.model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.3)
            if name.startswith("backbone") and name.endswith("bias"):
                # At 0 the padding stays 0, and each LayerNorm multiplies its rounding by 1000.
                parameter.normal_(std=0.1)
            if any(word in name for word in LIVELY):
                parameter.mul_(10)
            if "rtm_cls" in name:  # starts with one score of 0.01 everywhere
                parameter.normal_(std=0.3)
            if name.endswith("rpn_conv.bias"):
                parameter.fill_(RPN_BIAS)
    meta = dict(dataset_meta=dict(classes=names), cfg=cfg.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def write_classifier(path: Path, classes: int = 4) -> Path:
    """Writes a classifier's checkpoint."""
    torch.manual_seed(0)
    model = ConvNeXtClassifier(classes, arch=dict(depths=[1, 1, 1, 1], dims=[16, 24, 32, 48]))
    with torch.no_grad():
        model.head.weight.normal_(std=0.5)
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.3)
    names = tuple(f"class {number}" for number in range(classes))
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=names))), path
    )
    return path
