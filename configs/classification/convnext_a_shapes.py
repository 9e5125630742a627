"""ConvNeXt-atto from scratch on the embedded shapes: 600 images of 6 classes.

    python tools/pretrain_cls.py configs/classification/convnext_a_shapes.py

Data: drawn on first use under shapes/ of the data root. Cost: minutes on 2 CPU cores.
Paper: not in it. Ours: docs/results.md.
"""

_base_ = ["_base_/model.py", "_base_/shapes.py", "_base_/schedule_small.py"]

model = dict(
    data_preprocessor=dict(mixup=0.0, cutmix=0.0, erasing=0.0),
    backbone=dict(arch="atto", drop_path_rate=0.0, layer_scale_init_value=1.0),
)
