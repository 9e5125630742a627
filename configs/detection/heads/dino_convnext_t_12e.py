"""DINO with 4 scales, ConvNeXt-T, ImageNet-1K weights, COCO, 12 epochs.

    python tools/train.py configs/detection/heads/dino_convnext_t_12e.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper: arXiv 2203.03605. Settings: mmdet's dino-4scale_r50_8xb2-12e_coco, whose backbone learns at a
tenth of the rate; within it the layer decay and drop path of our ConvNeXt-T detectors.
Ours: not trained yet.
"""

_base_ = [
    "../_base_/dino.py",
    "../_base_/coco_instance.py",
    "../_base_/schedule_1x.py",
    "../_base_/runtime.py",
]
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224")),
)
train_dataloader = dict(dataset=dict(filter_cfg=dict(filter_empty_gt=False)))
recipe_pictures = 118287  # train2017, also its images that show no object
param_scheduler = [
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=12, milestones=[11], gamma=0.1),
]
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(decay_rate=0.95, custom_keys=dict(backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
