"""ResNet-200 as torchvision has it, trained as ResNets were: 90 epochs of SGD.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet200_00_resnet.py \
        --launcher pytorch

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 256 images a step: 8 GPUs x 32.
Paper: 78.20 top-1 (table 11).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/original_90e.py"]
model = dict(backbone=dict(regime="resnet200"))
