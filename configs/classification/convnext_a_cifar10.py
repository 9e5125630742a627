"""ConvNeXt-atto from scratch on CIFAR-10, or as many of its pictures as there are.

    python tools/pretrain_cls.py configs/classification/convnext_a_cifar10.py

Data: CIFAR-10 in class folders under cifar10/ of the data root. Cost: of 3000 pictures 10 minutes
on 2 CPU cores. timm's model by the same loop: --cfg-options model.backbone.type=TimmModel ...
Paper: not in it. Ours: docs/results.md.
"""

_base_ = ["_base_/model.py", "_base_/cifar10.py", "_base_/schedule_small.py"]

model = dict(backbone=dict(arch="atto", drop_path_rate=0.0, layer_scale_init_value=1.0))
