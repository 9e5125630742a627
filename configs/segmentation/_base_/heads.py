"""Heads of mmsegmentation for ConvNeXt's four maps, each in the size of its source and a small one.

Sizes are those of mmsegmentation 1.2's configs (`configs/{segformer,deeplabv3plus,mask2former}`).
A leaf takes one as `decode_head=dict(_base_.heads.segformer, ...)` and adds what its backbone
decides. `num_classes` is set nowhere: the engine takes it from the data's class names.
"""

batch_norm = dict(type="SyncBN", requires_grad=True)
# Batches of two are too small for BatchNorm, least of all over a pooled map.
group_norm = dict(type="GN", num_groups=8)
cross_entropy = dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0)

maps_to_scores = {
    size: dict(
        _delete_=True,
        channels=channels,
        dropout_ratio=dropout,
        norm_cfg=norm,
        align_corners=False,
        loss_decode=loss,
    )
    for size, channels, dropout, norm, loss in [
        ("segformer", 256, 0.1, batch_norm, cross_entropy),
        ("deeplabv3plus", 512, 0.1, batch_norm, cross_entropy),
        ("small", 32, 0.0, group_norm, dict(type="BalancedCrossEntropy", power=0.1)),
    ]
}
segformer = dict(type="SegformerHead", in_channels=[96, 192, 384, 768], in_index=[0, 1, 2, 3])
# The source dilates by 12, 24 and 36 on a map of stride 8. These reach as many pixels on the
# backbone's last map, whose stride is 32.
deeplabv3plus = dict(
    type="DepthwiseSeparableASPPHead",
    in_channels=768,
    in_index=3,
    dilations=(1, 3, 6, 9),
    c1_in_channels=96,
    c1_channels=48,
)
mask2former = {
    name: dict(
        _delete_=True,
        type="Mask2FormerHead",
        in_channels=[96, 192, 384, 768],
        feat_channels=width,
        out_channels=width,
        num_queries=queries,
        num_transformer_feat_level=3,
        align_corners=False,
        pixel_decoder=dict(
            type="mmdet.MSDeformAttnPixelDecoder",
            num_outs=3,
            norm_cfg=dict(type="GN", num_groups=groups),
            act_cfg=dict(type="ReLU"),
            encoder=dict(
                num_layers=encoder_layers,
                layer_cfg=dict(
                    self_attn_cfg=dict(
                        embed_dims=width,
                        num_heads=8,
                        num_levels=3,
                        num_points=4,
                        dropout=0.0,
                        batch_first=True,
                    ),
                    ffn_cfg=dict(
                        embed_dims=width,
                        feedforward_channels=4 * width,
                        num_fcs=2,
                        act_cfg=dict(type="ReLU", inplace=True),
                    ),
                ),
            ),
            positional_encoding=dict(num_feats=width // 2, normalize=True),
        ),
        enforce_decoder_input_project=False,
        positional_encoding=dict(num_feats=width // 2, normalize=True),
        transformer_decoder=dict(
            return_intermediate=True,
            num_layers=decoder_layers,
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=width, num_heads=8, batch_first=True),
                cross_attn_cfg=dict(embed_dims=width, num_heads=8, batch_first=True),
                ffn_cfg=dict(
                    embed_dims=width,
                    feedforward_channels=8 * width,
                    num_fcs=2,
                    act_cfg=dict(type="ReLU", inplace=True),
                ),
            ),
            init_cfg=None,
        ),
        loss_cls=dict(
            type="mmdet.CrossEntropyLoss",
            use_sigmoid=False,
            loss_weight=2.0,
            reduction="mean",
            class_weight=[1.0, 0.1],  # of every class, and of "no object"
        ),
        loss_mask=dict(
            type="mmdet.CrossEntropyLoss", use_sigmoid=True, reduction="mean", loss_weight=5.0
        ),
        loss_dice=dict(
            type="mmdet.DiceLoss",
            use_sigmoid=True,
            activate=True,
            reduction="mean",
            naive_dice=True,
            eps=1.0,
            loss_weight=5.0,
        ),
        train_cfg=dict(
            num_points=points,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
            assigner=dict(
                type="mmdet.HungarianAssigner",
                match_costs=[
                    dict(type="mmdet.ClassificationCost", weight=2.0),
                    dict(type="mmdet.CrossEntropyLossCost", weight=5.0, use_sigmoid=True),
                    dict(type="mmdet.DiceCost", weight=5.0, pred_act=True, eps=1.0),
                ],
            ),
            sampler=dict(type="mmdet.MaskPseudoSampler"),
        ),
    )
    for name, width, groups, queries, encoder_layers, decoder_layers, points in [
        ("mask2former", 256, 32, 100, 6, 9, 12544),
        ("mask2former_small", 64, 8, 20, 2, 3, 1024),
    ]
}
heads = dict(
    segformer=dict(maps_to_scores["segformer"], **segformer),
    segformer_small=dict(maps_to_scores["small"], **segformer),
    deeplabv3plus=dict(maps_to_scores["deeplabv3plus"], **deeplabv3plus),
    deeplabv3plus_small=dict(maps_to_scores["small"], **deeplabv3plus),
    **mask2former,
)
del batch_norm, group_norm, cross_entropy, maps_to_scores, segformer, deeplabv3plus, mask2former
