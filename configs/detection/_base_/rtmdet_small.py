"""RTMDet in miniature: ConvNeXt-atto, 64 channels, from scratch."""

_base_ = ["rtmdet.py"]

few_groups = dict(num_groups=8)
model = dict(
    backbone=dict(arch="atto", drop_path_rate=0.0),
    neck=dict(in_channels=[80, 160, 320], out_channels=64, num_csp_blocks=1, norm_cfg=few_groups),
    bbox_head=dict(in_channels=64, feat_channels=64, norm_cfg=few_groups),
)
