"""Cascade Mask R-CNN, ConvNeXt-L, ImageNet-22K weights, COCO, 3x (36 epochs).

    python tools/train.py configs/detection/cascade_convnext_l_in22k_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 54.8 box AP, 47.6 mask AP.
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
        arch="large",
        drop_path_rate=0.7,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_large_22k_224"),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.7))
