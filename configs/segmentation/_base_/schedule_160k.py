"""160,000 iterations at 16 images a step (paper, appendix A.3).

The two schedules multiply, as in the release: the line from 1 to 0 runs from the first iteration,
also under the warmup.
"""

train_cfg = dict(type="ResumableIterLoop", max_iters=160000, val_interval=16000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=160000),
]
# bfloat16 keeps the exponent range of float32, so no loss scaling. Where the hardware lacks
# bfloat16, and on the CPU, the engine trains in float32.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=0.9, decay_type="stage_wise"),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
