"""Mask R-CNN, Swin-T, ImageNet-1K weights, COCO, 3x: a row beside ours.

    python tools/train.py configs/detection/mask_rcnn_swin_t_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 46.0 box AP, 41.6 mask AP.
Ours: not trained to the end yet (docs/results.md).
Values: Swin's release, as known to us; the drop path of this model is not certain.
"""

_base_ = [
    "_base_/mask_rcnn.py",
    "_base_/peers.py",
    "_base_/coco_instance.py",
    "_base_/schedule_3x_peers.py",
    "_base_/runtime.py",
]
weights = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth"
model = dict(
    backbone=dict(
        _base_.peers.swin_t,
        drop_path_rate=0.2,
        convert_weights=True,
        init_cfg=dict(type="Pretrained", checkpoint=weights),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
