"""UperNet, ConvNeXt-XL, ImageNet-22K weights, ADE20K, crops of 640, 160k iterations.

    python tools/train.py configs/segmentation/upernet_convnext_xl_in22k_640_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Paper (table 4): 53.6 mIoU at a single scale, 54.0 at several.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/upernet_ade20k_640.py",
    "_base_/schedule_160k.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="xlarge",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_xlarge_22k_224"),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=8e-5))
