"""Mask2Former for instances, ConvNeXt-T, ImageNet-1K weights, COCO, 50 epochs at 1024 pixels.

    python tools/train.py configs/detection/heads/mask2former_convnext_t_50e.py

Data: COCO 2017 with masks under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper: arXiv 2112.01527. Settings: mmdet's mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco, whose
backbone learns at a tenth of the rate; within it the layer decay and drop path of our ConvNeXt-T
detectors. Its 368,750 iterations are 50 epochs. Ours: not trained yet.
"""

_base_ = [
    "../_base_/mask2former.py",
    "../_base_/coco_lsj.py",
    "../_base_/schedule_3x.py",
    "../_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type="BatchFixedSizePad",
                size=(1024, 1024),
                img_pad_value=0,
                pad_mask=True,
                mask_pad_value=0,
                pad_seg=False,
            )
        ]
    ),
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224")),
)
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=50, milestones=[44, 48], gamma=0.1),
]
queries = dict(lr_mult=1.0, decay_mult=0.0)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(
        decay_rate=0.95,
        custom_keys=dict(
            backbone=dict(lr_mult=0.1),
            query_embed=queries,
            query_feat=queries,
            level_embed=queries,
        ),
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
