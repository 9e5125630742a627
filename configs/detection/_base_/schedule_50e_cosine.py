"""50 epochs at 16 images a step; a cosine from the whole rate to a hundredth of it."""

_base_ = ["schedule_3x.py"]

train_cfg = dict(max_epochs=50, val_interval=2)
# A ratio, not a rate: all layers keep their parts of the rate to the end.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True,
        begin=0,
        end=50,
    ),
]
