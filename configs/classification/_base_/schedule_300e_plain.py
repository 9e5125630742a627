"""Table 5, ImageNet-1K: 300 epochs at 4096 images a step, 20 of them warmup; no average."""

_base_ = ["schedule_90e.py"]

train_cfg = dict(max_epochs=300)
param_scheduler = dict(warmup=20, end=300)
