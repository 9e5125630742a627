"""Mask2Former for things and stuff, ConvNeXt-atto from scratch on the embedded shapes data.

    python tools/train.py configs/panoptic/mask2former_panoptic_convnext_a_shapes.py

Data: drawn on first use under shapes/ of the data root. Cost: minutes on 2 CPU cores.
Paper: not in it. Heads: as mask2former_panoptic_convnext_t_50e. Ours: docs/results.md.
"""

_base_ = [
    "../detection/_base_/mask2former_small.py",
    "_base_/shapes_panoptic.py",
    "../detection/_base_/schedule_shapes.py",
    "_base_/runtime.py",
]
model = dict(
    data_preprocessor=dict(pad_seg=True, seg_pad_value=255),
    test_cfg=dict(panoptic_on=True, instance_on=False),
)
# From scratch: the rate and the clipping that the small decoder bears.
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=0.1))
