"""Cascade Mask R-CNN, ConvNeXt-B, ImageNet-1K weights, COCO, 3x (36 epochs).

    python tools/train.py configs/detection/cascade_convnext_b_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 52.7 box AP, 45.6 mask AP.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/cascade_mask_rcnn.py",
    "_base_/coco_instance.py",
    "_base_/schedule_3x.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="base",
        drop_path_rate=0.7,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_base_1k_224"),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(decay_rate=0.8))
