"""SegFormer's head, ConvNeXt-T, ImageNet-1K weights, ADE20K, crops of 512, 160k iterations.

    python tools/train.py configs/segmentation/heads/segformer_convnext_t_512_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Paper: not in it. The head and its learning rate of 6e-4 are those of
segformer_mit-b0_8xb2-160k_ade20k-512x512 of mmsegmentation 1.2 (arXiv 2105.15203), all else is
UperNet's recipe for this backbone.
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
    decode_head=_base_.heads.segformer,
    auxiliary_head=None,
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(head_lr_mult=6.0))
