"""Panoptic FPN, ConvNeXt-atto from scratch on the embedded shapes data.

    python tools/train.py configs/panoptic/panoptic_fpn_convnext_a_shapes.py

Data: drawn on first use under shapes/ of the data root. Cost: minutes on 2 CPU cores.
Paper: not in it. Heads: as panoptic_fpn_convnext_t_1x. Ours: docs/results.md.
"""

_base_ = [
    "_base_/panoptic_fpn_small.py",
    "_base_/shapes_panoptic.py",
    "../detection/_base_/schedule_shapes.py",
    "_base_/runtime.py",
]
