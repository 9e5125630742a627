"""FCMAE of ConvNeXt-T, whose V1 blocks fit all detectors and segmentors here as they are.

    convnext-dense pretrain fcmae_convnext_t --images DIR

Data, cost: as fcmae_convnext_v2_t.
Paper: not in it; V1 blocks gain less by FCMAE than V2's (arXiv 2301.00808).
Ours: not measured yet (docs/results.md).
"""

_base_ = ["fcmae_convnext_v2_t.py"]

model = dict(backbone=dict(use_grn=False, layer_scale_init_value=1e-6))
