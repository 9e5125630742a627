"""40,000 iterations at 16 images a step, for heads on a frozen backbone.

Length, batch and optimizer are those of DINOv3's linear segmentation, which tries several learning
rates and keeps the best: 1e-3 is the default of its code. Weight decay and warmup are as others
report them; the cosine is our choice, where its release has a cycle of its own.
"""

_base_ = ["schedule_160k.py"]

train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=1500, end=40000),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=1e-3), paramwise_cfg=dict(decay_rate=1.0))
