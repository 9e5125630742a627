"""One activation a block, between its 1x1 convolutions.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet200_13_fewer_activations.py \
        --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 82.71 top-1 (table 11).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/resnet200.py"]
model = dict(backbone=dict(step="fewer_activations"))
