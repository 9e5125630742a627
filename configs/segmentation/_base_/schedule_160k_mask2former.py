"""The 160k schedule with Mask2Former's optimizer, as mmsegmentation 1.2 has it.

Gradients are clipped, the backbone learns at a tenth of the rate, and queries are not decayed.
"""

_base_ = ["schedule_160k.py"]

undecayed = dict(decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            backbone=dict(lr_mult=0.1),
            query_embed=undecayed,
            query_feat=undecayed,
            level_embed=undecayed,
        )
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
