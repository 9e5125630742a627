"""COCO 2017 with large-scale jitter in squares of 640 pixels: RTMDet's data.

mmdet mixes images by steps that keep earlier ones in each worker (CachedMosaic, CachedMixUp), so a
resumed run could not go on as it would have. The mosaic here takes its images by the seed of an
image; mixup is left out. As in mmdet the last tenth of the run has no mosaics.
"""

_base_ = ["coco_instance.py"]

side = 640
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="InstanceMosaic", size=(side, side), prob=0.5),
    dict(type="RandomResize", scale=(side, side), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(side, side), allow_negative_crop=True),
    dict(type="TidyInstances"),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=(side, side), pad_val=dict(img=(114, 114, 114))),
    dict(type="PackDetInputs"),
]
# Without mmdet's padding to a square: the network sees the image alone, in less time.
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(side, side), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(batch_size=32, num_workers=10, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_views = dict(
    scales=[(short, short) for short in (320, 640, 960)],
    merge=dict(score_thr=0.001, nms=dict(type="nms", iou_threshold=0.6), max_per_img=300),
)
