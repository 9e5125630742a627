"""Mask R-CNN, ConvNeXt-T, DINOv3 weights, fine-tuned, COCO, 3x (36 epochs).

    python tools/train.py configs/detection/mask_rcnn_convnext_t_dinov3_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Weights: docs/weights.md (DINOv3 License; the first download needs a token of the Hub).
Paper: not in it; the settings are those of the supervised model.
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
        arch="tiny",
        drop_path_rate=0.4,
        init_cfg=dict(
            type="Pretrained", checkpoint="dinov3_convnext_tiny", final_norm_to_norm3=True
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
