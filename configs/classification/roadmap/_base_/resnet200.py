"""The regime of ResNet-200 and ConvNeXt-B (table 11)."""

_base_ = ["recipe.py"]
model = dict(backbone=dict(regime="resnet200", drop_path_rate=0.5))
