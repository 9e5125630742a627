"""Mask R-CNN, ConvNeXt-T, ImageNet-1K weights, COCO, 1x (12 epochs).

    python tools/train.py configs/detection/mask_rcnn_convnext_t_1x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper: no 1x row (its tables are 3x).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/mask_rcnn.py",
    "_base_/coco_instance.py",
    "_base_/schedule_1x.py",
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
