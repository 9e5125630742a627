"""UperNet in miniature on the embedded shapes data under `shapes/` of the data root.

ConvNeXt-atto from scratch, thin heads, small images: made to train in minutes on a CPU. The
data is drawn on first use; its class names are those of `classes.txt`, background first.
"""

_base_ = ["upernet.py"]

crop_size = (112, 112)
scale = (224, 168)
# Batches of two are too small for BatchNorm, least of all over the pooled 1 x 1 maps.
norm_cfg = dict(type="GN", num_groups=8)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch="atto",
        drop_path_rate=0.0,
        # From scratch: the release's std of 0.02 leaves the blocks of so narrow a network all but
        # silent for the first hundreds of steps.
        init_cfg=dict(
            type="Kaiming",
            layer=["Conv2d", "Linear"],
            mode="fan_in",
            nonlinearity="linear",
            distribution="normal",
        ),
    ),
    decode_head=dict(
        in_channels=[40, 80, 160, 320],
        channels=32,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        loss_decode=dict(_delete_=True, type="BalancedCrossEntropy", power=0.1),
    ),
    auxiliary_head=dict(
        in_channels=160,
        channels=32,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        loss_decode=dict(_delete_=True, type="BalancedCrossEntropy", power=0.1, loss_weight=0.4),
    ),
    test_cfg=dict(mode="whole"),
)
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadLabels"),
    dict(type="RandomResize", scale=scale, ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(
        type="RandomFlip",
        prob=[0.25, 0.25, 0.25],
        direction=["horizontal", "vertical", "diagonal"],
    ),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadLabels"),
    dict(type="PackSegInputs"),
]
recipe_pictures = 400
# Read in the training process: on two cores a worker process costs more than it brings.
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        data_root="shapes/",
        data_prefix=dict(img_path="train", seg_map_path="labels/train"),
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
        type="BaseSegDataset",
        data_root="shapes/",
        data_prefix=dict(img_path="val", seg_map_path="labels/val"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="MeanIoUMetric")
test_evaluator = val_evaluator
# Views of tools/test.py --tta: parts of the test scale, each also mirrored.
tta_views = dict(type="SegmentationViews", ratios=(0.75, 1.0, 1.25), flip=True, strip_memory=256)
