"""Mask2Former for instances, ConvNeXt-T, ImageNet-1K weights, COCO, 50 epochs at 1024 pixels.

    python tools/train.py configs/detection/heads/mask2former_instance_convnext_t_50e.py

Data: COCO 2017 with masks under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper: arXiv 2112.01527. Settings: mmdet's mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco; drop path
of our ConvNeXt-T detectors. Ours: not trained yet.
"""

_base_ = [
    "../_base_/mask2former.py",
    "../_base_/coco_lsj.py",
    "../_base_/schedule_mask2former_50e.py",
    "../_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(batch_augments=[_base_.lsj.pad]),
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224")),
)
