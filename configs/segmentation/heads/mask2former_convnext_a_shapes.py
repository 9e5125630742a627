"""Mask2Former, ConvNeXt-atto from scratch on the embedded shapes data.

    python tools/train.py configs/segmentation/heads/mask2former_convnext_a_shapes.py

Data: drawn on first use under shapes/ of the data root. Cost: minutes on 2 CPU cores.
Paper: not in it. Ours: docs/results.md.
"""

_base_ = [
    "../_base_/upernet_shapes.py",
    "../_base_/heads.py",
    "../_base_/schedule_shapes.py",
    "../_base_/runtime.py",
]
custom_imports = dict(imports=[*_base_.custom_imports.imports, "mmdet.models"])
model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=32)),
    decode_head=dict(_base_.heads.mask2former_small, in_channels=[40, 80, 160, 320]),
    auxiliary_head=None,
)
# From scratch: the rate and the clipping that the small decoder bears.
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=0.1))
