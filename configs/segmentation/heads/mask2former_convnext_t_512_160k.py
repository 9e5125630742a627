"""Mask2Former, ConvNeXt-T, ImageNet-1K weights, ADE20K, crops of 512, 160k iterations.

    python tools/train.py configs/segmentation/heads/mask2former_convnext_t_512_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Paper: not in it. Head, clipping of gradients and the backbone's tenth of the learning rate are
those of mask2former_swin-t_8xb2-160k_ade20k-512x512 of mmsegmentation 1.2 (arXiv 2112.01527), and
so is the test on whole images; all else is UperNet's recipe for this backbone.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "../_base_/upernet_ade20k_512.py",
    "../_base_/heads.py",
    "../_base_/schedule_160k_mask2former.py",
    "../_base_/runtime.py",
]
custom_imports = dict(imports=[*_base_.custom_imports.imports, "mmdet.models"])
model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=32)),
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224"),
    ),
    decode_head=_base_.heads.mask2former,
    auxiliary_head=None,
    test_cfg=dict(_delete_=True, mode="whole"),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
