"""ConvNeXt-XL of ImageNet-22K, fine-tuned on ImageNet-1K at 384 pixels, 30 epochs.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/convnext_xl_in22k_ft1k_384_30e.py --launcher pytorch --accumulate 2

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 512 images a step: 8 GPUs x 32 x 2 accumulated batches.
Paper: 87.8 top-1 (table 1), of the averaged weights.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/model_finetune.py",
    "_base_/imagenet_1k_384.py",
    "_base_/schedule_finetune_30e.py",
]
model = dict(
    backbone=dict(
        arch="xlarge",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_xlarge_22k_224"),
    ),
)
custom_hooks = [*_base_.custom_hooks, dict(type="WeightAverageHook", decay=0.9999)]
