"""ConvNeXt-T from scratch on ImageNet-1K, 224 pixels, 300 epochs.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/convnext_t_in1k_300e.py --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 82.1 top-1 (table 1).
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/model.py",
    "_base_/imagenet_1k.py",
    "_base_/schedule_300e.py",
]
model = dict(backbone=dict(arch="tiny", drop_path_rate=0.1))
