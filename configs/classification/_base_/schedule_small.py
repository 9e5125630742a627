"""Minutes on two CPU cores: a short average of the weights, since there are few steps."""

_base_ = ["schedule_90e.py"]

train_cfg = dict(max_epochs=40, val_interval=5)
param_scheduler = dict(warmup=3, end=40, eta_min_ratio=0.01)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [*_base_.custom_hooks, dict(type="WeightAverageHook", decay=0.995)]
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=1))
