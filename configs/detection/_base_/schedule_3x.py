"""36 epochs at 16 images a step; lr / 10 after epochs 27 and 33 (paper, appendix A.3)."""

train_cfg = dict(type="ResumableEpochLoop", max_epochs=36, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
# bfloat16 keeps the exponent range of float32, so no loss scaling. Where the hardware lacks
# bfloat16, and on the CPU, the engine trains in float32.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(type="AdamW", lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=0.7, decay_type="layer_wise"),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
