"""The embedded shapes data under `shapes/` of the data root: shapes are things, the ground stuff.

Small images, a flip and a mild change of scale: made to train in minutes on a CPU.
"""

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadSegments"),
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
    dict(type="LoadSegments"),
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
        type="PanopticDataset",
        data_root="shapes/",
        ann_file="annotations/panoptic_train.json",
        data_prefix=dict(img="train/", seg="annotations/panoptic_train/"),
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
        type="PanopticDataset",
        data_root="shapes/",
        ann_file="annotations/panoptic_val.json",
        data_prefix=dict(img="val/", seg="annotations/panoptic_val/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="PanopticQualityMetric")
test_evaluator = val_evaluator
