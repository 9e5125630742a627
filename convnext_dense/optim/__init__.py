"""Optimizer groups and schedules: importing this package registers them in mmengine."""

from convnext_dense.optim.layer_decay import (
    LayerDecayOptimWrapperConstructor,
    layer_id,
    num_layers,
)
from convnext_dense.optim.lr_report import (
    format_table,
    group_table,
    lr_range,
    lr_report,
    write_csv,
)
from convnext_dense.optim.schedulers import (
    PolyRatioLR,
    WarmupCosineLR,
    check_schedule,
    check_schedulers,
)

__all__ = [
    "LayerDecayOptimWrapperConstructor",
    "PolyRatioLR",
    "WarmupCosineLR",
    "check_schedule",
    "check_schedulers",
    "format_table",
    "group_table",
    "layer_id",
    "lr_range",
    "lr_report",
    "num_layers",
    "write_csv",
]
