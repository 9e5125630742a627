"""UperNet, ConvNeXt-T, ImageNet-1K weights, ADE20K, crops of 512, 160k iterations, cosine.

    python tools/train.py configs/segmentation/long/upernet_convnext_t_512_160k_cosine.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Paper: not in it; all but the schedule is upernet_convnext_t_512_160k.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "../_base_/upernet_ade20k_512.py",
    "../_base_/schedule_160k_cosine.py",
    "../_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224"),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
