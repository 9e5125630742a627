"""Table 6: as in pretraining, but neither mixup nor CutMix, and a head that starts near zero."""

_base_ = ["model.py"]

model = dict(data_preprocessor=dict(mixup=0.0, cutmix=0.0), backbone=dict(head_init_scale=0.001))
