"""The regime of ResNet-50 and ConvNeXt-T (table 10)."""

_base_ = ["recipe.py"]
model = dict(backbone=dict(regime="resnet50", drop_path_rate=0.1))
