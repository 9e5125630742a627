"""Table 5, ImageNet-1K: 300 epochs at 4096 images a step, 20 of them warmup, weights averaged."""

_base_ = ["schedule_300e_plain.py"]

custom_hooks = [*_base_.custom_hooks, dict(type="WeightAverageHook", decay=0.9999)]
