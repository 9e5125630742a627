"""How ResNets were trained before: torchvision's reference recipe, 90 epochs of SGD.

Crops and flips alone, no label smoothing, a tenth of the rate every 30 epochs; weight decay of all
parameters. 256 images a step.
"""

_base_ = ["../../_base_/imagenet_1k.py", "../../_base_/runtime.py"]

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(type="ClassificationPreprocessor"),
    backbone=dict(type="ConvNeXtRoadmapClassifier", step="resnet"),
)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        transform=dict(auto_augment=None, color_jitter=0.0, interpolation="bilinear"),
    ),
)
val_dataloader = dict(dataset=dict(transform=dict(interpolation="bilinear")))
test_dataloader = val_dataloader
train_cfg = dict(type="ResumableEpochLoop", max_epochs=90)
param_scheduler = dict(type="MultiStepLR", milestones=[30, 60], gamma=0.1, end=90)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4),
)
auto_scale_lr = dict(enable=False, base_batch_size=256)
