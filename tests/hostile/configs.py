"""Configs of a detector, a segmentor and a classifier so small that a step takes milliseconds."""

from pathlib import Path

from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / "configs"
ARCH = "arch=dict(_delete_=True, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))"
DETECTOR = f"""
_base_ = ["{CONFIGS}/detection/mask_rcnn_convnext_a_shapes.py"]
model = dict(
    backbone=dict({ARCH}),
    neck=dict(in_channels=[8, 8, 8, 8], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        mask_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=16),
        mask_head=dict(num_convs=1, in_channels=8, conv_out_channels=8),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20), rcnn=dict(max_per_img=5, score_thr=0.0)),
)
train_pipeline = [
    dict(_base_.train_pipeline[0]),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomChoiceResize", scales=[(48, 64), (40, 64)], keep_ratio=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(_base_.test_pipeline[0]),
    dict(type="Resize", scale=(64, 48), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_root="mini",
        ann_file="all.json",
        data_prefix=dict(img="images"),
        filter_cfg=dict(min_size=0),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root="mini", ann_file="all.json", data_prefix=dict(img="images"),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
"""
SEGMENTOR = f"""
_base_ = ["{CONFIGS}/segmentation/upernet_convnext_a_shapes.py"]
crop_size = (32, 32)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict({ARCH}),
    decode_head=dict(in_channels=[8, 8, 8, 8], channels=16),
    auxiliary_head=dict(in_channels=8, channels=16),
)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomResize", scale=(64, 48), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    *_base_.train_pipeline[4:],
]
test_pipeline = [
    dict(_base_.test_pipeline[0]),
    dict(type="Resize", scale=(64, 48), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
files = dict(
    data_root="mini",
    img_suffix=".img",
    seg_map_suffix=".lab",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
)
train_dataloader = dict(dataset=dict(files, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(files, pipeline=test_pipeline))
test_dataloader = val_dataloader
"""
CLASSIFIER = f"""
_base_ = ["{CONFIGS}/classification/convnext_a_shapes.py"]
model = dict(backbone=dict({ARCH}))
train_dataloader = dict(
    batch_size=2, dataset=dict(data_root="mini", transform=dict(size=32))
)
val_dataloader = dict(batch_size=2, dataset=dict(data_root="mini", transform=dict(size=32)))
test_dataloader = val_dataloader
"""
TEXTS = {"detection": DETECTOR, "segmentation": SEGMENTOR, "classification": CLASSIFIER}


def write_config(task: str, folder: Path) -> Path:
    """Writes a task's config without its bases: it is read for every case."""
    path = folder / f"{task}_short.py"
    path.write_text(TEXTS[task])
    whole = folder / f"{task}.py"
    Config.fromfile(path, import_custom_modules=False).dump(whole)
    return whole
