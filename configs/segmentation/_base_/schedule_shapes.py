"""A few minutes on two CPU cores: cosine to a hundredth of the rate, evaluated at the end."""

train_cfg = dict(type="ResumableIterLoop", max_iters=9500, val_interval=9500)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=0, end=9500),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    # From scratch there is nothing to protect in the early layers.
    paramwise_cfg=dict(decay_rate=1.0, decay_type="stage_wise"),
    clip_grad=dict(max_norm=5.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=2)
