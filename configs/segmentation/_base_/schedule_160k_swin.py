"""The 160k schedule with the optimizer of Swin's release: one rate for all layers.

AdamW 6e-5, weight decay 0.01; norms and position tables are not decayed.
"""

_base_ = ["schedule_160k.py"]

optim_wrapper = dict(
    optimizer=dict(lr=6e-5, weight_decay=0.01),
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
