"""What a checkpoint had and what the run that resumes it has, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from convnext_dense.engine.resuming.adapt import Resumption
from convnext_dense.engine.resuming.images import Row, changed_rows
from convnext_dense.optim.schedulers import type_name
from convnext_dense.optim.stepping import Plan, as_list, summarise_rates
from convnext_dense.text_table import format_columns

UNKNOWN = "?"


def resumed_lines(found: Resumption, cfg: Config, accumulated: int) -> list[str]:
    """The table, and a line that says what becomes of the settings.

    Args:
        found: What :func:`~convnext_dense.engine.resuming.adapt.adapt` returned.
        cfg: The config of the run, as it was left by that.
        accumulated: Batches of a step.
    """
    former, plan = found.former, found.plan
    changed = {name: pair for name, pair in found.changed.items() if name != "lr"}
    if "weight_decay" in (optimizer := cfg.optim_wrapper.optimizer):
        changed.setdefault("weight_decay", (optimizer.weight_decay,) * 2)
    epoch_length = former.epoch_length or plan.per_epoch
    others = changed_rows(former.config, cfg)
    rows = [
        ("", "checkpoint", "this run", ""),
        ("length", _length(former.plan), _length(plan), _stop(plan)),
        _row("iterations an epoch", former.epoch_length or UNKNOWN, plan.per_epoch),
        _row("batch of a process", former.images or UNKNOWN, cfg.train_dataloader.batch_size),
        _row("batches a step", former.accumulated or UNKNOWN, accumulated),
        (
            "place",
            _place(former.iteration, epoch_length),
            _place(found.iteration, plan.per_epoch),
            "",
        ),
        _row("learning rate", found.rates_before[0], found.rates_now[0]),
        *(_row(name.replace("_", " "), *pair) for name, pair in changed.items()),
        *_schedule_rows(former.schedule, as_list(cfg.get("param_scheduler"))),
        _row("rate at this place", found.rates_before[1], found.rates_now[1], _rise(found)),
        *_rates_to_come(found, cfg, accumulated),
        *others,
    ]
    return [*format_columns(rows, "<>><"), _conclusion(found, kept=found.kept and not others)]


def _row(name: str, before: Any, now: Any, note: str = "") -> Row:
    return name, _text(before), _text(now), note


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _length(plan: Plan | None) -> str:
    if plan is None:
        return UNKNOWN
    return f"{plan.epochs:,} epochs" if plan.by_epoch else f"{plan.total:,} iterations"


def _stop(plan: Plan) -> str:
    stops = plan.iterations < plan.total
    return f"stops after iteration {plan.iterations:,}" if stops else ""


def _place(iteration: int, per_epoch: int) -> str:
    epochs, inside = divmod(iteration, per_epoch)
    return f"iteration {iteration:,}, " + (
        f"inside of epoch {epochs + 1:,}" if inside else f"epoch {epochs:,} done"
    )


def _schedule_rows(
    before: Sequence[Mapping] | None, now: Sequence[Mapping]
) -> list[tuple[str, str, str, str]]:
    columns = [
        [UNKNOWN] if entries is None else [_entry(e) for e in entries if not e.get("undo")]
        for entries in (before, now)
    ]
    count = max(1, *map(len, columns))
    padded = [[*column, *[""] * (count - len(column))] for column in columns]
    return [
        ("" if number else "schedule", *pair, "")
        for number, pair in enumerate(zip(*padded, strict=True))
    ]


def _entry(entry: Mapping[str, Any]) -> str:
    unit = "epochs" if entry.get("by_epoch", True) else "iterations"
    span = f"{entry.get('begin', 0):,} to {entry['end']:,}" if entry.get("end") else "all"
    milestones = ", ".join(f"{point:,}" for point in entry.get("milestones") or [])
    points = f" at {milestones}" if milestones else ""
    return f"{type_name(entry['type'])} {span} {unit}{points}"


def _rise(found: Resumption) -> str:
    if not found.refit or not found.refit.rise_over:
        return ""
    return f"rises to the new schedule until iteration {found.iteration + found.refit.rise_over:,}"


def _rates_to_come(found: Resumption, cfg: Config, accumulated: int) -> list[Row]:
    if found.iteration >= found.plan.iterations:
        return []
    rates = summarise_rates(
        found.rates_now[0], cfg.get("param_scheduler"), found.plan, accumulated, found.iteration
    )
    return [
        ("largest rate from here", "", _text(rates.largest), f"in iteration {rates.at:,}"),
        ("rate at the end", "", _text(rates.last), f"in iteration {found.plan.iterations:,}"),
    ]


def _conclusion(found: Resumption, kept: bool) -> str:
    if found.iteration >= found.plan.iterations:
        return "Nothing is left to train: give the run a longer length."
    if kept:
        return "Nothing that resumes was changed: the run goes on as it would have."
    if found.refit and found.refit.restart:
        return "--warm-restart: the schedule begins anew here and lasts to the end of the run."
    if found.refit:
        return (
            "The schedule is the new one from here on, at this place of it; --warm-restart begins "
            "it anew instead."
        )
    return "The new settings hold from here on."
