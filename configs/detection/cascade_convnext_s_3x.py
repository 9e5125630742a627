"""Cascade Mask R-CNN, ConvNeXt-S, ImageNet-1K weights, COCO, 3x (36 epochs).

    python tools/train.py configs/detection/cascade_convnext_s_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 51.9 box AP, 45.0 mask AP.
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
        arch="small",
        drop_path_rate=0.6,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_small_1k_224"),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(decay_rate=0.7))
