"""What the models of the tables cost here: counted on the meta device, without weights or data.

Multiply-adds are those of convolutions, linear layers and matrix products, attention's included.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convnext_dense.config.reading import read_config
from convnext_dense.paper.costs import complexity
from convnext_dense.paper.costs.complexity import NumbersOnCpu
from convnext_dense.paper.roadmap import costs
from convnext_dense.paper.roadmap.costs import WithoutNumbers
from convnext_dense.paper.tables.dense_rows import ROWS
from convnext_dense.paper.tables.figures import find_config
from convnext_dense.paper.tables.rows import Cell, Row

TOLERANCES = {"params_m": 0.005, "gflops": 0.01}  # relative
_EFFNET = (
    "presumably a reprint of EfficientNet's own figure: torchvision documents {} G for the same "
    "network and size as well; the rounding of its maps does not explain the print"
)
# (table, model, column) -> why our count differs by more than the tolerance and the print's digits.
REASONS: dict[tuple[int, str, str], str] = {
    (1, "EffNet-B4@380", "gflops"): _EFFNET.format(4.394),
    (1, "EffNet-B5@456", "gflops"): _EFFNET.format(10.266),
    (1, "EffNet-B7@600", "gflops"): _EFFNET.format(37.746),
    (10, "resnet50_15_layer_norm", "gflops"): (
        "BatchNorm to LayerNorm changes no product, so the row before, 4.15, stays as in table 11; "
        "the print presumably stands one row too high (docs/costs.md)"
    ),
    (10, "resnet50_16_separate_downsampling", "gflops"): (
        "the network of table 1's ConvNeXt-T, whose count is 4.46, as the row above prints; the "
        "0.03 to 4.49 are not explained (docs/costs.md)"
    ),
}
NO_MODEL = "timm has no such model"


def measure(row: Row, configs: str | os.PathLike) -> tuple[dict[str, Any], str]:
    """Counts a row's model.

    Args:
        row: Of any table.
        configs: Folder of the configs.

    Returns:
        Its figures by the tables' columns (``params_m`` and ``gflops`` in millions and billions,
        table 9 also ``blocks``, ``channels``, ``sizes``), and what was counted, or why nothing was.
    """
    if row.peer:
        found = _classifier(row.peer, None, row.size[0])
        return found, f"counted: timm {row.peer}"
    if row.config is None:
        return {}, NO_MODEL
    return _of_config(row.config, row.size[0], str(configs)), f"counted: {row.config}"


@cache
def _of_config(name: str, side: int, configs: str) -> Mapping[str, Any]:
    dense = next((row for row in ROWS if row.model == name), None)
    if dense:
        found = complexity.measure(dense, configs)
        return {column: found[column] for column in ("params_m", "gflops")}
    steps = next((r for r in costs.REGIMES if name.startswith(f"{r}_")), None)
    if steps:
        return _roadmap(steps)[name]
    return _classifier(None, str(find_config(name, Path(configs))), side)


@cache
def _roadmap(regime: str) -> dict[str, dict[str, Any]]:
    return {Path(row["config"]).stem: row for row in costs.measure(regime)}


@cache
def _classifier(peer: str | None, config: str | None, side: int) -> Mapping[str, Any]:
    """Counts timm's model, or the network of a config with ImageNet-1K's classes."""
    with torch.device("meta"), NumbersOnCpu(), WithoutNumbers():
        network = timm.create_model(peer) if peer else _build(config)
    counter = FlopCounterMode(display=False)
    pictures = torch.empty(1, 3, side, side, device="meta")
    with torch.no_grad(), counter:
        network.eval()(pictures)
    return {
        "params_m": sum(p.numel() for p in network.parameters()) / 1e6,
        # torch counts a multiplication and an addition as two.
        "gflops": counter.get_total_flops() / 2e9,
        **_stages(network, pictures),
    }


def _build(config: str) -> nn.Module:
    backbone = read_config(config).model.backbone
    backbone.update(init_cfg=None, num_classes=costs.CLASSES)
    return MODELS.build(backbone)


def _stages(network: nn.Module, pictures: torch.Tensor) -> dict[str, str]:
    """Blocks, channels and side of the map of each of four stages, as table 9 has them."""
    stages = getattr(network, "stages", None) or getattr(network, "layers", None)
    if stages is None and hasattr(network, "layer1"):
        stages = [getattr(network, f"layer{i}") for i in range(1, 5)]
    if stages is None or len(stages) != 4:
        return {}
    shapes = []
    hooks = [s.register_forward_hook(lambda _m, _i, y: shapes.append(y.shape)) for s in stages]
    with torch.no_grad():
        network(pictures)
    for hook in hooks:
        hook.remove()
    # Swin's maps have their channels last; the two equal numbers are height and width.
    last = [shape[1] == shape[2] for shape in shapes]
    columns = {
        "blocks": [len(getattr(stage, "blocks", stage)) for stage in stages],
        "channels": [s[3] if f else s[1] for s, f in zip(shapes, last, strict=True)],
        "sizes": [s[1] if f else s[2] for s, f in zip(shapes, last, strict=True)],
    }
    return {name: " ".join(map(str, values)) for name, values in columns.items()}


def judge(row: Row, cell: Cell, ours: float | str | None) -> str | None:
    """A remark on a count that is not the paper's: the print's digits, or the reason."""
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
