"""UperNet on ADE20K under `ade/ADEChallengeData2016/` of the data root, in crops of 512 x 512.

The crop stands here for data and model alike: training crops, padding and the test's sliding
window. Class names are ADE20KDataset's 150; label 0 (unlabelled) is ignored.
"""

_base_ = ["upernet.py"]

crop_size = (512, 512)
scale = (2048, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    test_cfg=dict(mode="slide", crop_size=crop_size, stride=(341, 341)),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabels"),
    dict(type="RandomResize", scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    # After the resize: the truth stays in the image's own pixels.
    dict(type="LoadLabels"),
    dict(type="PackSegInputs"),
]
recipe_pictures = 20210
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    # A last batch of one image would be too few for the norms of the pooled maps.
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="ADE20KDataset",
        data_root="ade/ADEChallengeData2016/",
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        reduce_zero_label=True,
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
        type="ADE20KDataset",
        data_root="ade/ADEChallengeData2016/",
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        reduce_zero_label=True,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="MeanIoUMetric")
test_evaluator = val_evaluator
# Views of tools/test.py --tta: parts of the test scale, each also mirrored, images as a whole.
tta_views = dict(
    type="SegmentationViews",
    ratios=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    flip=True,
    strip_memory=256,  # MiB of full-size maps at once; the result does not depend on it
)
