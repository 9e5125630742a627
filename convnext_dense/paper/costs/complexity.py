"""Parameters and multiply-adds of the paper's dense rows, counted without weights or data.

Models are built on the meta device: shapes without numbers. What counts are convolutions, linear
layers and matrix products, as the paper's figures do (norms, activations, pooling and resizing do
not). A two-stage detector is counted as by the toolbox of that time: 1000 proposals through every
box head and 100 of them through every stage's mask head. Auxiliary heads have parameters but do
not run.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from convnext_dense.config.load import load_config
from convnext_dense.errors import UserError
from convnext_dense.paper.tables.dense_rows import ROWS, PaperRow
from convnext_dense.tasks import task_of

PROPOSALS = 1000
MASKED = 100  # of the proposals
COLUMNS = ("table", "model", "input_size", "params_m", "gflops", "paper_params_m", "paper_gflops")


class NumbersOnCpu(TorchFunctionMode):
    """Swin computes its drop path rates with a tensor and needs their values."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def rows_named(name: str | None) -> Sequence[PaperRow]:
    """All rows, or those whose model's name contains ``name``.

    Raises:
        UserError: Where there is none.
    """
    rows = [row for row in ROWS if name is None or name in row.model]
    if not rows:
        known = ", ".join(row.model for row in ROWS)
        raise UserError(f"No row of tables 3 and 4 is named {name!r}; there are: {known}.")
    return rows


def measure(row: PaperRow, configs: str | os.PathLike) -> dict[str, Any]:
    """Counts one row.

    Args:
        row: The paper's row.
        configs: Folder of the configs.

    Returns:
        A dict with the keys :data:`COLUMNS`; the paper's parameters may be None.
    """
    cfg = load_config(Path(configs, row.config))
    task_of(cfg).assume_classes(cfg)
    model = build_on_meta(cfg)
    return {
        "table": row.table,
        "model": row.model,
        "input_size": list(row.input_size),
        "params_m": sum(p.numel() for p in model.parameters()) / 1e6,
        "gflops": count_multiply_adds(model, row.input_size, cfg.default_scope) / 1e9,
        "paper_params_m": row.params_m,
        "paper_gflops": row.gflops,
    }


def build_on_meta(cfg: Config) -> nn.Module:
    """Builds a config's model, in evaluation mode, without memory for its parameters."""
    cfg.model.backbone.init_cfg = None
    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    with scope, torch.device("meta"), NumbersOnCpu():
        return MODELS.build(cfg.model).eval()


def count_multiply_adds(model: nn.Module, size: tuple[int, int], scope: str = "mmdet") -> int:
    """Multiply-adds of one picture (3, *size) through a detector or segmentor on meta."""
    counter = FlopCounterMode(display=False)
    with DefaultScope.overwrite_default_scope(scope), torch.no_grad(), counter:
        features = model.extract_feat(torch.empty(1, 3, *size, device="meta"))
        if hasattr(model, "roi_head"):
            _run_two_stages(model, features)
        else:
            model.decode_head(features)
    # torch counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2


def _run_two_stages(model: nn.Module, features: Sequence[torch.Tensor]) -> None:
    """The first stage on all levels, and what pooled regions pass in the second.

    Pooling itself has no products; its output's shape is all that counts.
    """
    model.rpn_head(features)
    roi = model.roi_head
    for extractors, heads, count in (
        (roi.bbox_roi_extractor, roi.bbox_head, PROPOSALS),
        (roi.mask_roi_extractor, roi.mask_head, MASKED),
    ):
        for extractor, head in zip(_stages(extractors), _stages(heads), strict=True):
            height, width = extractor.roi_layers[0].output_size
            head(torch.empty(count, extractor.out_channels, height, width, device="meta"))


def _stages(modules: nn.Module) -> Sequence[nn.Module]:
    return modules if isinstance(modules, nn.ModuleList) else [modules]


def format_table(found: Sequence[dict[str, Any]]) -> str:
    """Our figures beside the paper's, one row a line."""
    width = max(len(row["model"]) for row in found)
    lines = [
        f"table  {'model':{width}}  input size   params M   paper      GFLOPs   paper  difference"
    ]
    for row in found:
        size = "{} x {}".format(*row["input_size"])
        printed = "-" if row["paper_params_m"] is None else f"{row['paper_params_m']:.0f}"
        difference = row["gflops"] / row["paper_gflops"] - 1
        lines.append(
            f"{row['table']:>5}  {row['model']:{width}}  {size:>10}  {row['params_m']:9.2f}  "
            f"{printed:>6}  {row['gflops']:10.2f}  {row['paper_gflops']:6.0f}  {difference:+10.2%}"
        )
    return "\n".join(lines)
