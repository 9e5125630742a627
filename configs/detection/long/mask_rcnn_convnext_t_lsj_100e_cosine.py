"""Mask R-CNN, ConvNeXt-T, ImageNet-1K weights, COCO, large-scale jitter, 100 epochs, cosine.

    python tools/train.py configs/detection/long/mask_rcnn_convnext_t_lsj_100e_cosine.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper: not in it; data and length are those of mmdet's LSJ recipes (lsj-100e).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "../_base_/mask_rcnn.py",
    "../_base_/coco_instance_lsj.py",
    "../_base_/schedule_100e_cosine.py",
    "../_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(batch_augments=[_base_.lsj.pad]),
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224"),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
