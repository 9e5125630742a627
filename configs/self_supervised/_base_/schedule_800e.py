"""As the release of ConvNeXt V2 pretrains: 800 epochs, 40 of them warmup, 1.5e-4 at 256 images.

Its step has 4096 images; the rate is scaled with the step's images.
"""

_base_ = ["runtime.py"]

train_cfg = dict(type="ResumableEpochLoop", max_epochs=800)
param_scheduler = dict(
    type="WarmupCosineLR",
    warmup=40,
    end=800,
    by_epoch=True,
    convert_to_iter_based=True,
)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(type="AdamW", lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    # Rate 1: no layer decay, but no weight decay of norms, biases and layer scale.
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=1.0),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
default_hooks = dict(checkpoint=dict(interval=10))
