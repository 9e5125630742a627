"""One norm a block, after its depthwise convolution.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet50_14_fewer_norms.py \
        --launcher pytorch --accumulate 4

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 4096 images a step: 8 GPUs x 128 x 4 accumulated batches.
Paper: 81.41 +- 0.09 over three seeds top-1 (table 10).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/resnet50.py"]
model = dict(backbone=dict(step="fewer_norms"))
