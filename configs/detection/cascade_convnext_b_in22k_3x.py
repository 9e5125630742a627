"""Cascade Mask R-CNN, ConvNeXt-B, ImageNet-22K weights, COCO, 3x (36 epochs).

    python tools/train.py configs/detection/cascade_convnext_b_in22k_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 54.0 box AP, 46.9 mask AP.
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
        drop_path_rate=0.6,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_base_22k_224"),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.8))
