"""Cascade Mask R-CNN, ResNeXt-101 32x4d, ImageNet-1K weights, COCO, 3x: a row beside ours.

    python tools/train.py configs/detection/cascade_x101_32x4d_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 48.1 box AP, 41.6 mask AP.
Ours: not trained to the end yet (docs/results.md).
Values: the backbone is frozen as in mmdet's 3x configs; optimizer and augmentation are those of
Swin's comparison (AdamW 1e-4), where the paper's figure comes from, as far as known to us.
"""

_base_ = [
    "_base_/cascade_mask_rcnn.py",
    "_base_/peers.py",
    "_base_/coco_instance.py",
    "_base_/schedule_3x_peers.py",
    "_base_/runtime.py",
]
weights = "https://download.openmmlab.com/pretrain/third_party/resnext101_32x4d-a5af3160.pth"
model = dict(
    backbone=dict(
        _base_.peers.resnext101_32x4d, init_cfg=dict(type="Pretrained", checkpoint=weights)
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
