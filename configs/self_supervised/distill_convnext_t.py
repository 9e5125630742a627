"""Distillation of ConvNeXt-T from a frozen larger ConvNeXt, such as DINOv3's, without labels.

    convnext-dense pretrain --method distill --images DIR --teacher FILE

Data: any images in a folder. Cost: the teacher's forward pass and the student's training on two
crops of 224 pixels and four of 96 an image.
Paper: not in it; loss of Feature Distillation (arXiv 2205.14141), views of DINO.
Ours: not measured yet (docs/results.md).
"""

_base_ = ["_base_/images.py", "_base_/schedule_800e.py"]

model = dict(
    type="Distillation",
    data_preprocessor=dict(type="ViewsPreprocessor"),
    backbone=dict(type="ConvNeXtTrunk", arch="tiny"),
    teacher=dict(checkpoint=None),
)
train_dataloader = dict(dataset=dict(transform=dict(type="MultiCropViews", size=224)))
train_cfg = dict(max_epochs=300)
param_scheduler = dict(warmup=15, end=300)
