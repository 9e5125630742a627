"""Cascade Mask R-CNN, Swin-L, ImageNet-22K weights, COCO, 3x: a row beside ours.

    python tools/train.py configs/detection/cascade_swin_l_in22k_3x.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 8 GPUs with 2 images each.
Paper (table 3): 53.9 box AP, 46.7 mask AP.
Ours: not trained to the end yet (docs/results.md).
Values: those of Swin's ImageNet-1K models; the paper does not
state its own for this row.
"""

_base_ = [
    "_base_/cascade_mask_rcnn.py",
    "_base_/peers.py",
    "_base_/coco_instance.py",
    "_base_/schedule_3x_peers.py",
    "_base_/runtime.py",
]
weights = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window7_224_22k.pth"
model = dict(
    backbone=dict(
        _base_.peers.swin_l,
        drop_path_rate=0.3,
        convert_weights=True,
        init_cfg=dict(type="Pretrained", checkpoint=weights),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
