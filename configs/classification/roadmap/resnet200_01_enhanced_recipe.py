"""The same ResNet-200, trained by the recipe of the later networks.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet200_01_enhanced_recipe.py \
        --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 81.14 top-1 (table 11).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/resnet200.py"]
model = dict(backbone=dict(step="enhanced_recipe"))
