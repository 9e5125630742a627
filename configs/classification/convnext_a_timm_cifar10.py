"""timm's convnext_atto in the place of ours, everything else as in convnext_a_cifar10.

    python tools/pretrain_cls.py configs/classification/convnext_a_timm_cifar10.py

Data, cost: as there. Ours: docs/results.md.
"""

_base_ = ["convnext_a_cifar10.py"]

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmModel",
        name="convnext_atto",
        layer_scale_init_value=1.0,
    )
)
