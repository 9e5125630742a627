"""The backbones that the paper compares with, as mmdet and mmsegmentation build them.

A leaf takes one as `backbone=dict(_base_.peers.swin_t, ...)` and adds what its task decides: the
drop path and the starting weights.
"""

swin = dict(_delete_=True, type="SwinTransformer", window_size=7)
# The four outputs of torchvision's layout; the stem and the first stage stay frozen, and batch
# norms keep their ImageNet statistics.
resnet = dict(
    _delete_=True,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type="BN", requires_grad=True),
    norm_eval=True,
    style="pytorch",
)
peers = dict(
    swin_t=dict(swin, embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
    swin_s=dict(swin, embed_dims=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24]),
    swin_b=dict(swin, embed_dims=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
    swin_l=dict(swin, embed_dims=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48]),
    resnet50=dict(resnet, type="ResNet", depth=50),
    resnext101_32x4d=dict(resnet, type="ResNeXt", depth=101, groups=32, base_width=4),
    resnext101_64x4d=dict(resnet, type="ResNeXt", depth=101, groups=64, base_width=4),
)
