"""COCO 2017 with large-scale jitter: images of 0.1 to 2 times 1024 pixels, cut to 1024 x 1024.

Source: `configs/common/lsj-100e_coco-instance.py` of mmdet 3.3 (arXiv 2012.07177). Its images pass
through `BatchFixedSizePad`, which a leaf puts into the model's data preprocessor. Tests are those
of the other recipes.
"""

_base_ = ["coco_instance.py"]

image_size = (1024, 1024)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomResize", scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type="RandomCrop",
        crop_type="absolute_range",
        crop_size=image_size,
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    # What the crop and the shrinking left nothing of.
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
