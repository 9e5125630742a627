"""The 3x schedule with the optimizer of Swin's release: one rate for all layers.

AdamW 1e-4, weight decay 0.05; norms and position tables are not decayed.
"""

_base_ = ["schedule_3x.py"]

optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    constructor="DefaultOptimWrapperConstructor",
    paramwise_cfg=dict(
        _delete_=True,
        custom_keys=dict(
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            norm=dict(decay_mult=0.0),
        ),
    ),
)
