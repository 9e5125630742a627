"""7x7 depthwise convolutions, which the later steps keep.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet50_09_kernel_size_7.py \
        --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 80.57 +- 0.14 over three seeds top-1 (table 10).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/resnet50.py"]
model = dict(backbone=dict(step="kernel_size_7"))
