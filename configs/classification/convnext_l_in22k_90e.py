"""ConvNeXt-L from scratch on ImageNet-22K, 224 pixels, 90 epochs.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/convnext_l_in22k_90e.py --launcher pytorch --accumulate 4

Data: ImageNet-22K under imagenet22k/ of the data root, and imagenet/val.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 86.6 top-1 on ImageNet-1K after fine-tuning at 224 (table 1).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/model.py",
    "_base_/imagenet_22k.py",
    "_base_/schedule_90e.py",
]
model = dict(backbone=dict(arch="large", drop_path_rate=0.1))
