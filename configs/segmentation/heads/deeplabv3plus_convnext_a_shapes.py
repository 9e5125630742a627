"""DeepLabV3+, ConvNeXt-atto from scratch on the embedded shapes data.

    python tools/train.py configs/segmentation/heads/deeplabv3plus_convnext_a_shapes.py

Data: drawn on first use under shapes/ of the data root. Cost: minutes on 2 CPU cores.
Paper: not in it. Ours: docs/results.md.
"""

_base_ = [
    "../_base_/upernet_shapes.py",
    "../_base_/heads.py",
    "../_base_/schedule_shapes.py",
    "../_base_/runtime.py",
]
model = dict(
    decode_head=dict(
        _base_.heads.deeplabv3plus_small, in_channels=320, c1_in_channels=40, c1_channels=16
    ),
)
