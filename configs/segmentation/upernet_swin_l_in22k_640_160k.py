"""UperNet, Swin-L, ImageNet-22K weights, ADE20K, crops of 640, 160k: a row beside ours.

    python tools/train.py configs/segmentation/upernet_swin_l_in22k_640_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Paper (table 4): 53.5 mIoU at several scales.
Ours: not trained to the end yet (docs/results.md).
Values: mmsegmentation's Swin configs (drop path 0.3 for all; Swin's paper has 0.2 as
far as known to us).
"""

_base_ = [
    "_base_/upernet_ade20k_640.py",
    "../detection/_base_/peers.py",
    "_base_/schedule_160k_swin.py",
    "_base_/runtime.py",
]
weights = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/swin_large_patch4_window7_224_22k_20220412-aeecf2aa.pth"
model = dict(
    backbone=dict(
        _base_.peers.swin_l,
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint=weights),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
