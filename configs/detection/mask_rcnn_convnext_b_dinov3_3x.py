"""Mask R-CNN, ConvNeXt-B, DINOv3 weights, fine-tuned, COCO, 3x (36 epochs).

    python tools/train.py configs/detection/mask_rcnn_convnext_b_dinov3_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Weights: docs/weights.md (DINOv3 License; the first download needs a token of the Hub).
Paper: not in it; the settings are those of its Cascade Mask R-CNN with supervised weights.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/mask_rcnn.py",
    "_base_/coco_instance.py",
    "_base_/schedule_3x.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="base",
        drop_path_rate=0.7,
        init_cfg=dict(
            type="Pretrained", checkpoint="dinov3_convnext_base", final_norm_to_norm3=True
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(decay_rate=0.8))
