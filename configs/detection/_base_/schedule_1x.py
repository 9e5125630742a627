"""12 epochs at 16 images a step; lr / 10 after epochs 8 and 11."""

_base_ = ["schedule_3x.py"]

train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
