"""Costs of the models of all tables, counted on the meta device without weights or data."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.registry import MODELS
from torch import nn

from convnext_dense.config.reading import read_config
from convnext_dense.paper.costs import complexity
from convnext_dense.paper.costs.counting import count_classifier, count_parameters, meta_device
from convnext_dense.paper.roadmap import costs as roadmap_costs
from convnext_dense.paper.tables.dense_rows import ROWS
from convnext_dense.paper.tables.figures import find_config
from convnext_dense.paper.tables.rows import Cell, Row

TOLERANCES = {"params_m": 0.005, "gflops": 0.01}  # relative
_EFFNET = (
    "presumably a reprint of EfficientNet's own figure: torchvision documents {} G for the same "
    "network and size too; the rounding of its feature maps does not explain the print"
)
# (table, model, column) -> why our count differs by more than the tolerance and the printed digits.
REASONS: dict[tuple[int, str, str], str] = {
    (1, "EffNet-B4@380", "gflops"): _EFFNET.format(4.394),
    (1, "EffNet-B5@456", "gflops"): _EFFNET.format(10.266),
    (1, "EffNet-B7@600", "gflops"): _EFFNET.format(37.746),
    (10, "resnet50_15_layer_norm", "gflops"): (
        "BatchNorm to LayerNorm changes no product, so the row before, 4.15, stays as in table 11; "
        "the figure is presumably printed one row too high (docs/roadmap.md)"
    ),
    (10, "resnet50_16_separate_downsampling", "gflops"): (
        "the network of table 1's ConvNeXt-T, whose count is 4.46, as the row above prints; the "
        "0.03 to 4.49 are not explained (docs/roadmap.md)"
    ),
}
NO_MODEL = "timm has no such model"


def count_row(row: Row, configs: str | os.PathLike) -> tuple[dict[str, Any], str]:
    """Counts the model of a row.

    Args:
        row: A row of any table.
        configs: Folder of the configs.

    Returns:
        The figures by column (``params_m`` in millions and ``gflops`` in billions, for table 9
        also ``blocks``, ``channels`` and ``sizes``), and a text that says what was counted, or
        why nothing was counted.
    """
    if row.peer:
        return _count_classifier(row.peer, None, row.size[0]), f"counted: timm {row.peer}"
    if row.config is None:
        return {}, NO_MODEL
    return _count_config(row.config, row.size[0], str(configs)), f"counted: {row.config}"


@cache
def _count_config(name: str, side: int, configs: str) -> Mapping[str, Any]:
    dense = next((row for row in ROWS if row.model == name), None)
    if dense:
        counted = complexity.count_dense_row(dense, configs)
        return {column: counted[column] for column in ("params_m", "gflops")}
    regime = next((r for r in roadmap_costs.REGIMES if name.startswith(f"{r}_")), None)
    if regime:
        return _count_regime(regime)[name]
    return _count_classifier(None, str(find_config(name, Path(configs))), side)


@cache
def _count_regime(regime: str) -> dict[str, dict[str, Any]]:
    return {Path(row["config"]).stem: row for row in roadmap_costs.count_steps(regime)}


@cache
def _count_classifier(peer: str | None, config: str | None, side: int) -> Mapping[str, Any]:
    """Counts timm's model, or the network of a config with ImageNet-1K's classes."""
    with meta_device():
        network = timm.create_model(peer) if peer else _build(config)
    network.eval()
    return {
        "params_m": count_parameters(network) / 1e6,
        "gflops": count_classifier(network, side) / 1e9,
        **_stages(network, side),
    }


def _build(config: str) -> nn.Module:
    backbone = read_config(config).model.backbone
    backbone.update(init_cfg=None, num_classes=roadmap_costs.CLASSES)
    return MODELS.build(backbone)


def _stages(network: nn.Module, side: int) -> dict[str, str]:
    """Blocks, channels and feature map side of each of four stages, as in table 9."""
    stages = getattr(network, "stages", None) or getattr(network, "layers", None)
    if stages is None and hasattr(network, "layer1"):
        stages = [getattr(network, f"layer{i}") for i in range(1, 5)]
    if stages is None or len(stages) != 4:
        return {}
    shapes = []
    hooks = [s.register_forward_hook(lambda _m, _i, y: shapes.append(y.shape)) for s in stages]
    with torch.no_grad():
        network(torch.empty(1, 3, side, side, device="meta"))
    for hook in hooks:
        hook.remove()
    # Swin's feature maps are channels-last: height and width are the equal ones.
    channels_last = [shape[1] == shape[2] for shape in shapes]
    columns = {
        "blocks": [len(getattr(stage, "blocks", stage)) for stage in stages],
        "channels": [s[3] if last else s[1] for s, last in zip(shapes, channels_last, strict=True)],
        "sizes": [s[1] if last else s[2] for s, last in zip(shapes, channels_last, strict=True)],
    }
    return {name: " ".join(map(str, values)) for name, values in columns.items()}


def judge(row: Row, cell: Cell, ours: float | str | None) -> str | None:
    """A remark on a count that differs from the paper; None if it is within the tolerance."""
    tolerance = TOLERANCES.get(cell.column)
    if tolerance is None or ours is None:
        return None
    difference = abs(ours - cell.paper)
    reason = REASONS.get((row.table, row.model, cell.column))
    if difference <= tolerance * cell.paper:
        return reason
    if difference <= cell.unit / 2:
        return "within the digits that the paper prints"
    return reason or "NOT EXPLAINED"
