"""Cascade Mask R-CNN, ConvNeXt-atto from scratch on the embedded shapes data.

    make demo        (or: python tools/train.py configs/detection/cascade_convnext_a_shapes.py)

Data: drawn on first use under shapes/ of the data root. Cost: about 5 minutes on 2 CPU cores.
Paper: not in it. Ours: docs/results.md.
"""

_base_ = [
    "_base_/cascade_mask_rcnn_small.py",
    "_base_/shapes_instance.py",
    "_base_/schedule_shapes.py",
    "_base_/runtime.py",
]
