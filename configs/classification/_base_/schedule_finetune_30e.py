"""Table 6: fine-tuning for 30 epochs at 512 images a step, without warmup, with layer decay."""

_base_ = ["schedule_90e.py"]

train_cfg = dict(max_epochs=30)
param_scheduler = dict(warmup=0, end=30, eta_min_ratio=1e-6 / 5e-5)
optim_wrapper = dict(
    optimizer=dict(lr=5e-5, weight_decay=1e-8),
    paramwise_cfg=dict(decay_rate=0.8),  # every three blocks form a group
)
auto_scale_lr = dict(base_batch_size=512)
