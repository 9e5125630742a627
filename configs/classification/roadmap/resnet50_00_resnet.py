"""ResNet-50 as torchvision has it, trained as ResNets were: 90 epochs of SGD.

    torchrun --nproc-per-node 8 tools/pretrain_cls.py \
        configs/classification/roadmap/resnet50_00_resnet.py \
        --launcher pytorch

Data: ImageNet-1K under imagenet/ of the data root.
Cost: 256 images a step: 8 GPUs x 32.
Paper: 76.13 top-1 (table 10).
Ours: not trained yet (docs/roadmap.md).
"""

_base_ = ["_base_/original_90e.py"]
model = dict(backbone=dict(regime="resnet50"))
