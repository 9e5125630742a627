"""DeepLabV3+, ConvNeXt-T, ImageNet-1K weights, ADE20K, crops of 512, 160k iterations.

    python tools/train.py configs/segmentation/heads/deeplabv3plus_convnext_t_512_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Paper: not in it. Head and auxiliary head are those of deeplabv3plus_r50-d8_4xb4-160k_ade20k-512x512
of mmsegmentation 1.2 (arXiv 1802.02611), with dilations for a stride of 32; all else is UperNet's
recipe for this backbone.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "../_base_/upernet_ade20k_512.py",
    "../_base_/heads.py",
    "../_base_/schedule_160k.py",
    "../_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224"),
    ),
    decode_head=_base_.heads.deeplabv3plus,
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
