"""The embedded shapes data under `shapes/` of the data root, drawn on first use.

Small images, a flip and a mild change of scale: made to train in minutes on a CPU.
"""

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomChoiceResize",
        scales=[(short, 256) for short in (160, 176, 192, 208)],
        keep_ratio=True,
    ),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(256, 192), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
recipe_pictures = 380  # 400 without those that show no shape
# Read in the training process: on two cores a worker process costs more than it brings.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="CocoDataset",
        data_root="shapes/",
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root="shapes/",
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoInstanceMetric", metric=["bbox", "segm"])
test_evaluator = val_evaluator
# Views of tools/test.py --tta: scales (short side, longest side), each also mirrored.
tta_views = dict(
    type="DetectionViews",
    scales=[(short, short * 4 // 3) for short in (144, 192, 240)],
    flip=True,
    merge=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
)
