"""100 epochs at 128 images a step, the second half a cosine to a twentieth of the rate."""

_base_ = ["schedule_3x.py"]

epochs = 100
train_cfg = dict(max_epochs=epochs, val_interval=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=0.05,
        by_epoch=True,
        convert_to_iter_based=True,
        begin=epochs // 2,
        end=epochs,
    ),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(decay_rate=0.8))
auto_scale_lr = dict(base_batch_size=128)
