"""160,000 iterations at 16 images a step; after the warmup a cosine to a hundredth of the rate."""

_base_ = ["schedule_160k.py"]

# A ratio, not a rate: all layers keep their parts of the rate to the end.
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=1500, end=160000),
]
