"""Mask2Former for instances, ConvNeXt-atto from scratch on the embedded shapes data.

    python tools/train.py configs/detection/heads/mask2former_convnext_a_shapes.py

Data: drawn on first use under shapes/ of the data root. Cost: minutes on 2 CPU cores.
Paper: not in it. Ours: docs/results.md.
"""

_base_ = [
    "../_base_/mask2former_small.py",
    "../_base_/shapes_instance.py",
    "../_base_/schedule_shapes.py",
    "../_base_/runtime.py",
]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=0.01))
