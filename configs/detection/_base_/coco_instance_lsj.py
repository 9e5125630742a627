"""COCO 2017 with large-scale jitter, as `configs/common/lsj-100e_coco-instance.py` of mmdet 3.3.

Tests are those of the other recipes.
"""

_base_ = ["coco_instance.py", "lsj.py"]

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    _base_.lsj.resize,
    dict(_base_.lsj.crop, crop_type="absolute_range"),
    # What the crop and the shrinking left nothing of.
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
