"""Parameters and multiply-adds of the paper's detectors and segmentors (tables 3 and 4).

A two-stage detector is counted as the toolbox of that time did: 1000 proposals pass through each
box head, and 100 of them through each stage's mask head. Auxiliary heads are counted in the
parameters, but they do not run.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from convnext_dense.config.load import load_config
from convnext_dense.errors import UserError
from convnext_dense.paper.costs.counting import count_multiply_adds, count_parameters, meta_device
from convnext_dense.paper.tables.dense_rows import ROWS, PaperRow
from convnext_dense.tasks import task_of
from convnext_dense.text_table import format_columns

PROPOSALS = 1000
MASKED_PROPOSALS = 100
COLUMNS = ("table", "model", "input_size", "params_m", "gflops", "paper_params_m", "paper_gflops")


def rows_named(name: str | None) -> Sequence[PaperRow]:
    """All rows, or the rows whose model name contains ``name``.

    Raises:
        UserError: If there is no such row.
    """
    rows = [row for row in ROWS if name is None or name in row.model]
    if not rows:
        models = ", ".join(row.model for row in ROWS)
        raise UserError(f"No row of tables 3 and 4 is named {name!r}; the rows are: {models}.")
    return rows


def count_dense_row(row: PaperRow, configs: str | os.PathLike) -> dict[str, Any]:
    """Counts the model of one row.

    Args:
        row: A row of table 3 or 4.
        configs: Folder of the configs.

    Returns:
        A dict with the keys :data:`COLUMNS`. The paper's parameters may be None.
    """
    cfg = load_config(Path(configs, row.config))
    task_of(cfg).assume_classes(cfg)
    model = build_on_meta(cfg)
    return {
        "table": row.table,
        "model": row.model,
        "input_size": list(row.input_size),
        "params_m": count_parameters(model) / 1e6,
        "gflops": count_dense_model(model, row.input_size, cfg.default_scope) / 1e9,
        "paper_params_m": row.params_m,
        "paper_gflops": row.gflops,
    }


def build_on_meta(cfg: Config) -> nn.Module:
    """Builds a config's model on the meta device, in evaluation mode."""
    cfg.model.backbone.init_cfg = None
    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    with scope, meta_device():
        return MODELS.build(cfg.model).eval()


def count_dense_model(model: nn.Module, size: tuple[int, int], scope: str = "mmdet") -> int:
    """Multiply-adds of a detector or segmentor on the meta device for one image (3, *size)."""
    with DefaultScope.overwrite_default_scope(scope):
        return count_multiply_adds(lambda: _run(model, size))


def _run(model: nn.Module, size: tuple[int, int]) -> None:
    features = model.extract_feat(torch.empty(1, 3, *size, device="meta"))
    if hasattr(model, "roi_head"):
        _run_detector_heads(model, features)
    else:
        model.decode_head(features)


def _run_detector_heads(model: nn.Module, features: Sequence[torch.Tensor]) -> None:
    """Runs the RPN on all levels, and the RoI heads on pooled features.

    RoI pooling has no multiply-adds, so only the shape of its output is used.
    """
    model.rpn_head(features)
    roi = model.roi_head
    for extractors, heads, count in (
        (roi.bbox_roi_extractor, roi.bbox_head, PROPOSALS),
        (roi.mask_roi_extractor, roi.mask_head, MASKED_PROPOSALS),
    ):
        for extractor, head in zip(_stages(extractors), _stages(heads), strict=True):
            height, width = extractor.roi_layers[0].output_size
            head(torch.empty(count, extractor.out_channels, height, width, device="meta"))


def _stages(modules: nn.Module) -> Sequence[nn.Module]:
    return modules if isinstance(modules, nn.ModuleList) else [modules]


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """A text table of our figures beside the paper's."""
    header = (
        "table", "model", "input size", "params M", "paper", "GFLOPs", "paper", "difference",
    )  # fmt: skip
    cells = [
        (
            str(row["table"]),
            row["model"],
            "{} x {}".format(*row["input_size"]),
            f"{row['params_m']:.2f}",
            "-" if row["paper_params_m"] is None else f"{row['paper_params_m']:.0f}",
            f"{row['gflops']:.2f}",
            f"{row['paper_gflops']:.0f}",
            f"{row['gflops'] / row['paper_gflops'] - 1:+.2%}",
        )
        for row in rows
    ]
    alignment = (">", "<", ">", ">9", ">6", ">10", ">6", ">")
    return "\n".join(format_columns([header, *cells], alignment))
