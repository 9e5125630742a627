"""50 epochs at 16 images a step; lr / 10 after epochs 44 and 48, without a warmup: Mask2Former's.

Of mmdet's lsj-50e: its 368,750 iterations are 50 epochs, and the backbone learns at a tenth of the
rate. Within it the layer decay of our ConvNeXt-T detectors.
"""

_base_ = ["schedule_3x.py"]

train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=50, milestones=[44, 48], gamma=0.1),
]
queries = dict(lr_mult=1.0, decay_mult=0.0)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(
        decay_rate=0.95,
        custom_keys=dict(
            backbone=dict(lr_mult=0.1),
            query_embed=queries,
            query_feat=queries,
            level_embed=queries,
        ),
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
