"""Panoptic FPN, ConvNeXt-T, ImageNet-1K weights, COCO panoptic, 1x (12 epochs).

    python tools/train.py configs/panoptic/panoptic_fpn_convnext_t_1x.py

Data: COCO 2017 and its panoptic annotations under coco/ of the data root:
annotations/panoptic_{train,val}2017.json beside folders of their PNGs, which have the same names.
Cost: made for 8 GPUs with 2 images each.
Paper: not in it. Heads: Kirillov et al., Panoptic Feature Pyramid Networks
(https://arxiv.org/abs/1901.02446), as mmdet's panoptic-fpn_r50_fpn_1x_coco has them; backbone,
optimizer and augmentation as mask_rcnn_convnext_t_1x.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/panoptic_fpn.py",
    "_base_/coco_panoptic.py",
    "../detection/_base_/schedule_1x.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224"),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
