"""COCO 2017 with large-scale jitter in squares of 1024 pixels: Mask2Former's data."""

_base_ = ["coco_instance.py"]

side = 1024
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(side, side), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type="RandomCrop",
        crop_size=(side, side),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type="TidyInstances"),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
