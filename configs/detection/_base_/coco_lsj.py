"""COCO 2017 with large-scale jitter, as Mask2Former has it."""

_base_ = ["coco_instance.py", "lsj.py"]

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    _base_.lsj.resize,
    _base_.lsj.crop,
    dict(type="TidyInstances"),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
