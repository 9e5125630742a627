"""COCO 2017 panoptic with large-scale jitter, as Mask2Former has it."""

_base_ = ["coco_panoptic.py", "../../detection/_base_/lsj.py"]

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadSegments"),
    dict(type="RandomFlip", prob=0.5),
    _base_.lsj.resize,
    _base_.lsj.crop,
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
