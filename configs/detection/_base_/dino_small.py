"""DINO in miniature: ConvNeXt-atto, two layers each, 60 queries, from scratch.

mmdet encodes reference points for 256 channels whatever the decoder's are.
"""

_base_ = ["dino.py"]

narrow = dict(feedforward_channels=512)
model = dict(
    num_queries=60,
    backbone=dict(arch="atto", drop_path_rate=0.0),
    neck=dict(in_channels=[80, 160, 320]),
    encoder=dict(num_layers=2, layer_cfg=dict(ffn_cfg=narrow)),
    decoder=dict(num_layers=2, layer_cfg=dict(ffn_cfg=narrow)),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=20)),
    test_cfg=dict(max_per_img=60),
)
