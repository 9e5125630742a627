"""100 epochs at 16 images a step; lr / 10 after epochs 88 and 96.

Source: `configs/common/lsj-100e_coco-instance.py` of mmdet 3.3, which counts four passes over the
data as one epoch: 25 of them, and lr / 10 after 22 and 24. The optimizer is the 3x schedule's.
"""

_base_ = ["schedule_3x.py"]

train_cfg = dict(max_epochs=100, val_interval=5)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=100, milestones=[88, 96], gamma=0.1),
]
