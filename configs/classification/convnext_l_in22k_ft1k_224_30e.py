"""ConvNeXt-L of ImageNet-22K, fine-tuned on ImageNet-1K at 224 pixels, 30 epochs.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/convnext_l_in22k_ft1k_224_30e.py --launcher pytorch

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 512 images a step: 8 GPUs x 64.
Paper: 86.6 top-1 (table 1).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/model_finetune.py",
    "_base_/imagenet_1k.py",
    "_base_/schedule_finetune_30e.py",
]
model = dict(
    backbone=dict(
        arch="large",
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint="convnext_large_22k_224"),
    ),
)
train_dataloader = dict(batch_size=64)
