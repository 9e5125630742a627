"""Isotropic ConvNeXt-S from scratch on ImageNet-1K, 224 pixels, 300 epochs.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/convnext_iso_s_in1k_300e.py --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 79.7 top-1 (table 2).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/model.py",
    "_base_/imagenet_1k.py",
    "_base_/schedule_300e.py",
]
model = dict(
    backbone=dict(
        type="IsotropicConvNeXt",
        arch="small",
        drop_path_rate=0.1,
        layer_scale_init_value=0.0,
    ),
)
param_scheduler = dict(warmup=50)
