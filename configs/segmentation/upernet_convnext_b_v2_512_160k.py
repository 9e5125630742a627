"""UperNet, ConvNeXt V2-B, FCMAE and ImageNet-1K weights, ADE20K, crops of 512, 160k iterations.

    python tools/train.py configs/segmentation/upernet_convnext_b_v2_512_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Weights: docs/weights.md (CC-BY-NC-4.0).
Paper: not in it; the settings are those of the V1 model of this size.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/upernet_ade20k_512.py",
    "_base_/schedule_160k.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="base",
        use_grn=True,
        layer_scale_init_value=0,
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnextv2_base_1k_224_ema"),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
