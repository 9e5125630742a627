"""Mask2Former in miniature: ConvNeXt-atto, 64 channels, fewer layers, 30 queries, from scratch."""

_base_ = ["mask2former.py"]

channels, wide = dict(embed_dims=64), dict(embed_dims=64, feedforward_channels=256)
model = dict(
    backbone=dict(arch="atto", drop_path_rate=0.0),
    panoptic_head=dict(
        in_channels=[40, 80, 160, 320],
        feat_channels=64,
        out_channels=64,
        num_queries=30,
        pixel_decoder=dict(
            norm_cfg=dict(num_groups=8),
            encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=channels, ffn_cfg=wide)),
            positional_encoding=dict(num_feats=32),
        ),
        positional_encoding=dict(num_feats=32),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(self_attn_cfg=channels, cross_attn_cfg=channels, ffn_cfg=wide),
        ),
    ),
    train_cfg=dict(num_points=1024),
    test_cfg=dict(max_per_image=30),
)
