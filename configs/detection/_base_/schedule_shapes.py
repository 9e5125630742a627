"""A few minutes on two CPU cores: cosine to a hundredth of the rate, evaluated at the end."""

train_cfg = dict(type="ResumableEpochLoop", max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=6,
    ),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    # From scratch there is nothing to protect in the early layers.
    paramwise_cfg=dict(decay_rate=1.0, decay_type="layer_wise"),
    # Images of a batch are padded with zeros. At initialisation (zero biases) such a region is
    # constant, and each LayerNorm over it multiplies gradients by 1 / sqrt(eps) = 1000: the first
    # steps have gradient norms beyond 1e5. Pretrained weights do not have this.
    clip_grad=dict(max_norm=5.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=4)
