"""COCO 2017 under `coco/` of the data root, with the augmentation of the paper's detectors.

Classes are read from the training annotation file; data without masks drops the mask branch.
"""

# Training: a flip, then (a) the short side out of 480 to 800, or (b) the same after a random crop.
# Scales are (short side, longest side).
multi_scale = [(short, 1333) for short in range(480, 801, 32)]
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomChoice",
        transforms=[
            [dict(type="RandomChoiceResize", scales=multi_scale, keep_ratio=True)],
            [
                dict(
                    type="RandomChoiceResize",
                    scales=[(400, 1333), (500, 1333), (600, 1333)],
                    keep_ratio=True,
                ),
                dict(
                    type="RandomCrop",
                    crop_type="absolute_range",
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(type="RandomChoiceResize", scales=multi_scale, keep_ratio=True),
            ],
        ],
    ),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    # After the resize: ground truth stays in the image's own pixels.
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
recipe_pictures = 117266  # train2017 without its images that show no object
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="CocoDataset",
        data_root="coco/",
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root="coco/",
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
# The engine fills in the annotation file of the dataset that is evaluated.
val_evaluator = dict(type="CocoInstanceMetric", metric=["bbox", "segm"])
test_evaluator = val_evaluator
# Views of tools/test.py --tta: scales (short side, longest side), each also mirrored.
tta_views = dict(
    type="DetectionViews",
    scales=[(short, short * 4 // 3) for short in range(400, 1201, 100)],
    flip=True,
    merge=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
)
