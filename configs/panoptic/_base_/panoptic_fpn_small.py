"""Panoptic FPN in miniature: ConvNeXt-atto, 64 channels, thin heads, from scratch."""

_base_ = ["panoptic_fpn.py"]

model = dict(
    backbone=dict(arch="atto", drop_path_rate=0.0),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=64),
    rpn_head=dict(type="RowRPNHead", in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=1)),
        mask_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
        mask_head=dict(type="RowMaskHead", num_convs=2, in_channels=64, conv_out_channels=64),
    ),
    semantic_head=dict(in_channels=64, inner_channels=32, norm_cfg=dict(num_groups=8)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=32))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200), panoptic=dict(stuff_area_limit=256)),
)
