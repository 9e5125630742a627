"""Cascade Mask R-CNN, Swin-S, ImageNet-1K weights, COCO, 3x: a row beside ours.

    python tools/train.py configs/detection/cascade_swin_s_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 51.9 box AP, 45.0 mask AP.
Ours: not trained to the end yet (docs/results.md).
Values: Swin's release, as known to us; the drop path of this model is not certain.
"""

_base_ = [
    "_base_/cascade_mask_rcnn.py",
    "_base_/peers.py",
    "_base_/coco_instance.py",
    "_base_/schedule_3x_peers.py",
    "_base_/runtime.py",
]
weights = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_small_patch4_window7_224.pth"
model = dict(
    backbone=dict(
        _base_.peers.swin_s,
        drop_path_rate=0.2,
        convert_weights=True,
        init_cfg=dict(type="Pretrained", checkpoint=weights),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
