"""What a run on own data has beside its recipe, and why: a few lines before the first step."""

from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from convnext_dense.config.config_tree import datasets
from convnext_dense.data.fit_schedule import WARMUP_SHARE, Batch, Fit, plan_of, rate_of
from convnext_dense.optim.stepping import Plan, summarise_rates
from convnext_dense.tasks import task_of

SHOWN_CLASSES = 8
Row = tuple[str, str, str, str]


def format_schedule_table(cfg: Config, recipe: Config, fit: Fit, max_iters: int | None) -> str:
    """The table of a fitted run: the recipe's numbers, this run's, and the reason.

    Args:
        cfg: The fitted config.
        recipe: The config as its file states it.
        fit: What :func:`fit_schedule` returned.
        max_iters: ``--max-iters``, which stops the run before its schedule ends.
    """
    classes = cfg.train_dataloader.dataset.metainfo.classes
    names = ", ".join(classes[:SHOWN_CLASSES]) + (" ..." if len(classes) > SHOWN_CLASSES else "")
    rows = [
        ("", "recipe", "this run", ""),
        _pictures_row(cfg, fit),
        *_repeats_rows(cfg),
        _batch_row(fit),
        _rate_row(cfg, recipe, fit),
        *_length_rows(fit),
        _largest_rate_row(cfg, fit, max_iters),
        *_milestone_rows(cfg, recipe),
        *_interval_rows(cfg, recipe, fit),
    ]
    if max_iters is not None and max_iters < fit.run.iterations:
        rows.append(("stops after", "", f"{max_iters:,}", "--max-iters; the schedule stays"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"  {row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip()
        for row in rows
    ]
    count = f"{len(classes)} class{'es' if len(classes) > 1 else ''}"
    return "\n".join([f"{Path(recipe.filename).name} on your data, {count}: {names}", *lines, ""])


def _pictures_row(cfg: Config, fit: Fit) -> Row:
    (data,) = datasets(cfg, "train")
    task, why = task_of(cfg), ""
    if data in task.datasets(cfg, "train"):
        why = task.count_unused_images(data, fit.size.images)
    return (
        "training images",
        _number(fit.size.recipe_images),
        _number(fit.size.images),
        why,
    )


def _repeats_rows(cfg: Config) -> list[Row]:
    drawn = (cfg.train_dataloader.get("sampler") or {}).get("epoch_images")
    return [("images an epoch", "", _number(drawn), "rare classes repeated")] if drawn else []


def _batch_row(fit: Fit) -> Row:
    batch = fit.size.batch
    account = f"{batch.per_process} x {batch.processes} process{'es' * (batch.processes > 1)}"
    if batch.accumulated > 1:
        account += f" x {batch.accumulated} accumulated batches"
    return ("images a step", _number(fit.size.base), _number(batch.step), account)


def _rate_row(cfg: Config, recipe: Config, fit: Fit) -> Row:
    before = f"{recipe.optim_wrapper.optimizer.lr:g}"
    now = f"{rate_of(cfg, fit.size.batch):g}"
    if cfg.get("auto_scale_lr", {}).get("enable"):
        return ("learning rate", before, now, f"x {fit.size.batch.step} / {fit.size.base} images")
    return ("learning rate", before, now, "as given, not scaled")


def _largest_rate_row(cfg: Config, fit: Fit, max_iters: int | None) -> Row:
    plan = plan_of(cfg.train_cfg, fit.size.per_epoch)
    if max_iters is not None:
        plan = replace(plan, iterations=min(plan.iterations, max_iters))
    largest, where = largest_rate(cfg, plan, fit.size.batch)
    return ("largest rate", "", largest, where)


def largest_rate(cfg: Config, plan: Plan, batch: Batch) -> tuple[str, str]:
    """The largest learning rate of a run, and where it is; found by stepping the schedules."""
    schedules = cfg.get("param_scheduler")
    rates = summarise_rates(rate_of(cfg, batch), schedules, plan, accumulated=batch.accumulated)
    where = f"in iteration {rates.at:,} of {plan.iterations:,}; the last one has {rates.last:g}"
    return f"{rates.largest:g}", where


def _length_rows(fit: Fit) -> list[Row]:
    recipe, run = fit.recipe, fit.run
    rows = []
    if run.by_epoch:
        rows.append(("epochs", _number(recipe.total), _number(run.total), fit.reason))
    why = "" if run.by_epoch else fit.reason
    passes = f"{run.iterations / fit.size.per_epoch:,.0f} passes of {fit.size.per_epoch:,}"
    why = f"{why}; {passes}" if why else passes
    rows.append(("iterations", _number(recipe.iterations), _number(run.iterations), why))
    why = f"at most 1 / {WARMUP_SHARE} of the run" if run.warmup < recipe.warmup else ""
    if why and not run.warmup:
        why += ", or none"
    rows.append(("warmup iterations", _number(recipe.warmup), _number(run.warmup), why))
    return rows


def _milestone_rows(cfg: Config, recipe: Config) -> list[Row]:
    rows = []
    steps = [[e for e in c.param_scheduler if "milestones" in e] for c in (recipe, cfg)]
    for before, after in zip(*steps, strict=False):
        unit = "epochs" if before.get("by_epoch", True) else "iterations"
        told = ", ".join(f"{point:,}" for point in before["milestones"])
        now = ", ".join(f"{point:,}" for point in after["milestones"])
        factor = f"lr x {before.get('gamma', 0.1):g} after"
        rows.append((factor, f"{told} {unit}", f"{now} iterations", "in proportion"))
    return rows


def _interval_rows(cfg: Config, recipe: Config, fit: Fit) -> list[Row]:
    unit = "epochs" if fit.run.by_epoch else "iterations"
    intervals = {
        "evaluated": [config.train_cfg.get("val_interval", 1) for config in (recipe, cfg)],
        "saved": [config.default_hooks.checkpoint.interval for config in (recipe, cfg)],
    }
    return [
        (f"{what} every n {unit}", _number(before), _number(after), "in proportion")
        for what, (before, after) in intervals.items()
    ]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
