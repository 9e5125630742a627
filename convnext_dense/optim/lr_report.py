"""A report on the optimizer: the table of its groups, and its learning rates over training."""

import csv
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.optim import BaseOptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.optim import Optimizer

from convnext_dense.models.lora import add_adapters
from convnext_dense.optim.schedule_curve import draw_curve, epoch_length, lr_curve
from convnext_dense.optim.schedulers import check_schedule

COLUMNS = ("group", "parameters", "num_elements", "lr_scale", "lr", "weight_decay")


def lr_range(optimizer: Optimizer | BaseOptimWrapper) -> tuple[float, float]:
    """The smallest and the largest learning rate in use now."""
    rates = [group["lr"] for group in _without_wrapper(optimizer).param_groups]
    return min(rates), max(rates)


def group_table(optimizer: Optimizer | BaseOptimWrapper) -> list[dict]:
    """One row for each parameter group, with the keys `COLUMNS`.

    `parameters` counts tensors and `num_elements` their values. `lr` is the group's learning rate
    before any schedule, also where a warmup has already lowered the current one.
    """
    base_lr = _without_wrapper(optimizer).defaults["lr"]
    rows = []
    for index, group in enumerate(_without_wrapper(optimizer).param_groups):
        lr = group.get("initial_lr", group["lr"])
        rows.append(
            dict(
                group=group.get("group_name", f"group_{index}"),
                parameters=len(group["params"]),
                num_elements=sum(param.numel() for param in group["params"]),
                lr_scale=group.get("lr_scale", lr / base_lr),
                lr=lr,
                weight_decay=group["weight_decay"],
            )
        )
    return rows


def write_csv(rows: list[dict], path: str | os.PathLike) -> None:
    """Writes the rows of `group_table`; the file is either complete or untouched."""
    path = Path(path)
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def format_table(rows: list[dict]) -> str:
    """The rows of `group_table` as aligned plain text."""
    cells = [COLUMNS]
    for row in rows:
        numbers = (f"{row['parameters']:,}", f"{row['num_elements']:,}")
        rates = (f"{row[key]:.6g}" for key in COLUMNS[3:])
        cells.append((row["group"], *numbers, *rates))
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def lr_report(cfg: Config, curve_path: str | os.PathLike) -> dict:
    """Builds a config's model and optimizer, and draws the learning rates over its training.

    Args:
        cfg: A complete config (the optim wrapper's type must work on this machine).
        curve_path: Where the PNG goes; missing folders are created.

    Returns:
        `groups` (see `group_table`), `frozen` (counts of what is in no group), `base_lr`,
        `iterations` of the training, `curve` (path of the PNG), and `epochs`,
        `iterations_per_epoch`, `epoch_source` (the source of that number), which are None where
        the training counts iterations.

    Raises:
        UserError: The optimizer or the schedule is wrong (see `LayerDecayOptimWrapperConstructor`
            and `check_schedule`).
    """
    check_schedule(cfg)
    by_epoch = cfg.train_cfg.get("max_epochs") is not None
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        model = MODELS.build(cfg.model)
        if cfg.get("lora"):
            add_adapters(model.backbone, cfg.lora["rank"])
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        per_epoch, source = epoch_length(cfg) if by_epoch else (None, None)
    rows = group_table(optimizer)
    lrs = [row["lr"] for row in rows]
    curve = lr_curve(lrs, cfg.get("param_scheduler"), cfg.train_cfg, per_epoch)
    draw_curve(curve, curve_path, note=source or "")
    return dict(
        groups=rows,
        frozen=_frozen(model),
        base_lr=_without_wrapper(optimizer).defaults["lr"],
        iterations=curve.total,
        epochs=curve.epochs,
        iterations_per_epoch=per_epoch,
        epoch_source=source,
        curve=str(curve_path),
    )


def _frozen(model: nn.Module) -> dict[str, int]:
    """Tensors and values that are not trained, counted as `group_table` does."""
    sizes = [param.numel() for param in model.parameters() if not param.requires_grad]
    return dict(parameters=len(sizes), num_elements=sum(sizes))


def _without_wrapper(optimizer: Optimizer | BaseOptimWrapper) -> Optimizer:
    """The optimizer itself: mmengine's wrapper adds a group for the base lr, without parameters."""
    return optimizer.optimizer if isinstance(optimizer, BaseOptimWrapper) else optimizer
