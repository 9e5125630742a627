"""Table 5, ImageNet-22K: 90 epochs at 4096 images a step, 5 of them warmup; no average."""

_base_ = ["runtime.py"]

train_cfg = dict(type="ResumableEpochLoop", max_epochs=90)
# Rates change at every step: from 0 to the rate of 4e-3, then by a cosine to 1e-6.
param_scheduler = dict(
    type="WarmupCosineLR",
    warmup=5,
    end=90,
    eta_min_ratio=1e-6 / 4e-3,
    by_epoch=True,
    convert_to_iter_based=True,
)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(type="AdamW", lr=4e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    # Rate 1: no layer decay, but no weight decay of norms, biases and layer scale.
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=1.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=4096)
