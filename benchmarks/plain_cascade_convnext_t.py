"""The detector of gpu.py on the plain path, beside which the fused kernels are measured."""

_base_ = ["../configs/detection/cascade_convnext_t_3x.py"]

model = dict(backbone=dict(fast=False))
