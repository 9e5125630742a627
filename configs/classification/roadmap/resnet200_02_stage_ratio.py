"""Blocks of the four stages 3, 3, 27, 3 instead of 3, 24, 36, 3; 84 channels instead of 64.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet200_02_stage_ratio.py \
        --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 81.33 top-1 (table 11).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/resnet200.py"]
model = dict(backbone=dict(step="stage_ratio"))
