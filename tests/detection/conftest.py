"""Untrained detectors of the shapes configs with scores far apart, and images of noise."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from convnext_dense.config.load import load_config
from convnext_dense.data.coco.mask_branch import drop_mask_branch
from convnext_dense.data.head_classes import set_num_classes

CONFIGS = Path(__file__).parents[2] / "configs/detection"
CLASSES = 4


@cache
def build_detector(name: str, masks: bool):
    """Mask R-CNN (``mask_rcnn``) or Cascade Mask R-CNN (``cascade``), small, in eval mode."""
    cfg = load_config(CONFIGS / f"{name}_convnext_a_shapes.py")
    init_default_scope("mmdet")
    set_num_classes(cfg.model, CLASSES, "the test")
    if not masks:
        drop_mask_branch(cfg)
    cfg.model.test_cfg.rcnn.max_per_img = 12
    torch.manual_seed(3)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    heads = model.roi_head.bbox_head
    with torch.no_grad():  # nothing is trained: spread the scores and the masks
        for head in heads if name == "cascade" else [heads]:
            head.fc_cls.weight.normal_(std=0.06)
        if masks:
            mask_heads = model.roi_head.mask_head
            for head in mask_heads if name == "cascade" else [mask_heads]:
                head.conv_logits.weight.normal_(std=0.5)
    return model


@pytest.fixture
def detector():
    """:func:`build_detector`; changes of its test settings are undone."""
    changed = []

    def build(name: str, masks: bool = True, **test_cfg):
        model = build_detector(name, masks)
        before = dict(model.roi_head.test_cfg)
        changed.append((model, before))
        model.roi_head.test_cfg.update(test_cfg)
        return model

    yield build
    for model, before in reversed(changed):
        model.roi_head.test_cfg.update(before)


def picture(seed: int = 0, height: int = 90, width: int = 131) -> np.ndarray:
    """Noise with large structure, (height, width, 3) BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
