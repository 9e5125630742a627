"""ConvNeXt-B of ImageNet-1K, fine-tuned at 384 pixels, 30 epochs.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/convnext_b_in1k_ft384_30e.py --launcher pytorch --accumulate 2

Data: ImageNet-1K under imagenet/ of the data root.
Weights: starts from the final weights.
Cost: 512 images a step: 8 GPUs x 32 x 2 accumulated batches.
Paper: 85.1 top-1 (table 1).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/model_finetune.py",
    "_base_/imagenet_1k_384.py",
    "_base_/schedule_finetune_30e.py",
]
model = dict(
    backbone=dict(
        arch="base",
        drop_path_rate=0.8,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_base_1k_224"),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.7))
