"""Mask2Former for things and stuff: the model of detection/_base_/mask2former.py, other results."""

_base_ = ["../../detection/_base_/mask2former.py"]

model = dict(
    data_preprocessor=dict(pad_seg=True, seg_pad_value=255),
    test_cfg=dict(panoptic_on=True, instance_on=False),
)
