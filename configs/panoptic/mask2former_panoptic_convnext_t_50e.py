"""Mask2Former for things and stuff, ConvNeXt-T, ImageNet-1K weights, COCO panoptic, 50 epochs.

    python tools/train.py configs/panoptic/mask2former_panoptic_convnext_t_50e.py

Data: COCO 2017 and its panoptic annotations under coco/ of the data root:
annotations/panoptic_{train,val}2017.json beside folders of their PNGs, which have the same names.
Cost: made for 8 GPUs with 2 images each.
Paper: arXiv 2112.01527. Settings: mmdet's mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco-panoptic;
drop path of our ConvNeXt-T detectors.
Ours: not trained yet.
"""

_base_ = [
    "_base_/mask2former.py",
    "_base_/coco_panoptic_lsj.py",
    "../detection/_base_/schedule_mask2former_50e.py",
    "_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(batch_augments=[dict(_base_.lsj.pad, pad_seg=True)]),
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224")),
)
