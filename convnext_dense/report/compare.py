"""Charts and tables that compare runs."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from convnext_dense.report import charts
from convnext_dense.report.charts import Line
from convnext_dense.report.findings import Analysis
from convnext_dense.runs import run_summary
from convnext_dense.runs.saved_runs import Training

# Key in the log -> title, unit, whether the axis is logarithmic.
STEP_CHARTS = {
    "loss": ("Training loss", "", False),
    "max_lr": ("Learning rate (largest group)", "", True),
    "min_lr": ("Learning rate (smallest group)", "", True),
    "grad_norm": ("Gradient norm", "", True),
    "time": ("Time of an iteration", "s", False),
    "data_time": ("Time of waiting for data", "s", False),
    "memory": ("Memory", "MB", False),
}
OTHER_FIGURES = ("mAcc", "aAcc", "loss", "loss_ema")  # charts besides the main figures


def step_charts(runs: Sequence[Training]) -> list[Markup]:
    """A chart for each quantity in the log's training lines."""
    drawn = []
    for key, (title, unit, log) in STEP_CHARTS.items():
        if key == "min_lr" and all(_has_single_lr(run) for run in runs):
            continue
        lines = []
        for number, run in enumerate(runs):
            rows = [row for row in run.steps if key in row]
            xs, ys = [row["iter"] for row in rows], [row[key] for row in rows]
            lines.append(Line(run.name, xs, ys, number))
        drawn.append(charts.line_chart(title, lines, "iteration", log=log, unit=unit))
    return [chart for chart in drawn if chart]


def _has_single_lr(run: Training) -> bool:
    return all(row.get("min_lr") == row.get("max_lr") for row in run.steps)


def evaluation_charts(runs: Sequence[Training]) -> list[Markup]:
    """A chart for each validation figure, separately for epochs and iterations."""
    names = (*run_summary.HEADLINE, *OTHER_FIGURES)
    lines: dict[tuple[str, str], list[Line]] = {}
    for number, run in enumerate(runs):
        logger = (run.config.get("default_hooks") or {}).get("logger") or {}
        unit = "epoch" if logger.get("log_metric_by_epoch", True) else "iteration"
        for name in names:
            rows = [
                (row, key) for row in run.evaluations for key in row if _figure_name(key) == name
            ]
            if rows:
                points = [row["step"] for row, _ in rows], [row[key] for row, key in rows]
                title = f"Validation {name}"
                lines.setdefault((title, unit), []).append(Line(run.name, *points, number))
    drawn = [charts.line_chart(title, of_title, unit) for (title, unit), of_title in lines.items()]
    return [chart for chart in drawn if chart]


def _figure_name(key: str) -> str | None:
    """The figure's name without the evaluator's prefix; None for other keys."""
    return key.split("/", 1)[1] if "/" in key else None


def loss_parts(run: Training) -> Markup | None:
    """A chart of the losses that are summed in training; None if there is only one."""
    names = dict.fromkeys(key for row in run.steps for key in row if "loss_" in key)
    if len(names) < 2:
        return None
    lines = []
    for number, name in enumerate(names):
        rows = [row for row in run.steps if name in row]
        lines.append(Line(name, [row["iter"] for row in rows], [row[name] for row in rows], number))
    return charts.line_chart("Parts of the loss", lines, "iteration")


def learning_rate_bars(run: Training) -> Markup | None:
    """A chart of the learning rate of each layer, over its groups with and without weight decay."""
    rates: dict[str, float] = {}
    for row in run.lr_groups:
        layer = row["group"].removesuffix("_no_decay").removesuffix("_decay")
        rates[layer] = max(row["lr"], rates.get(layer, 0.0))
    if not rates:
        return None
    title = "Learning rate by layer"
    return charts.bar_chart(title, list(rates), list(rates.values()), "learning rate")


def precision_recall_charts(tests: Sequence[tuple[str, int, str, Analysis]]) -> list[Markup]:
    """Charts with the main curve of each test: (run, number of the run, task, analysis)."""
    titles: dict[str, list[Line]] = {}
    for name, number, task, analysis in tests:
        for _, lines in analysis.curves[:1]:
            for line in lines[:1]:
                title = f"Precision and recall, {task}: {line.name}"
                titles.setdefault(title, []).append(Line(name, line.xs, line.ys, number))
    drawn = [charts.curve_chart(title, lines) for title, lines in titles.items() if len(lines) > 1]
    return [chart for chart in drawn if chart]


def class_tables(runs: Sequence[tuple[str, str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Tables of each class's first figure: (run, task, figures of each class)."""
    tables = []
    for task in dict.fromkeys(task for _, task, _ in runs):
        of_task = [(name, per_class) for name, of_run, per_class in runs if of_run == task]
        if len(of_task) < 2:
            continue
        figure = next(iter(next(iter(of_task[0][1].values()))))
        classes = dict.fromkeys(name for _, per_class in of_task for name in per_class)
        rows = [
            (name, {run: per_class.get(name, {}).get(figure) for run, per_class in of_task})
            for name in classes
        ]
        tables.append(dict(title=figure, columns=[name for name, _ in of_task], rows=rows))
    return tables
