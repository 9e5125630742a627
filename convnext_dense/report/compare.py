"""Charts over the training, and runs side by side."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from convnext_dense.report import charts, summary
from convnext_dense.report.charts import Line
from convnext_dense.report.findings import Analysis
from convnext_dense.report.work_folders import Training

# Keys of the log -> title, unit, logarithmic axis.
STEP_CHARTS = {
    "loss": ("Training loss", "", False),
    "max_lr": ("Learning rate (largest group)", "", True),
    "min_lr": ("Learning rate (smallest group)", "", True),
    "grad_norm": ("Gradient norm", "", True),
    "time": ("Time of an iteration", "s", False),
    "data_time": ("of it, waiting for data", "s", False),
    "memory": ("Memory", "MB", False),
}
OTHER_FIGURES = ("mAcc", "aAcc", "loss", "loss_ema")  # drawn over time beside the headline's


def step_charts(runs: Sequence[Training]) -> list[Markup]:
    """A chart for each quantity that the log has at every so many iterations."""
    found = []
    for key, (title, unit, log) in STEP_CHARTS.items():
        if key == "min_lr" and all(_one_rate(run) for run in runs):
            continue
        lines = []
        for number, run in enumerate(runs):
            rows = [row for row in run.steps if key in row]
            xs, ys = [row["iter"] for row in rows], [row[key] for row in rows]
            lines.append(Line(run.name, xs, ys, number))
        found.append(charts.line_chart(title, lines, "iteration", log, unit))
    return [chart for chart in found if chart]


def _one_rate(run: Training) -> bool:
    return all(row.get("min_lr") == row.get("max_lr") for row in run.steps)


def evaluation_charts(runs: Sequence[Training]) -> list[Markup]:
    """A chart for each figure and unit of time: epochs and iterations do not share an axis."""
    wanted = (*summary.HEADLINE, *OTHER_FIGURES)
    lines: dict[tuple[str, str], list[Line]] = {}
    for number, run in enumerate(runs):
        logger = (run.config.get("default_hooks") or {}).get("logger") or {}
        unit = "epoch" if logger.get("log_metric_by_epoch", True) else "iteration"
        for name in wanted:
            rows = [(row, key) for row in run.evaluations for key in row if _short(key) == name]
            if rows:
                points = [row["step"] for row, _ in rows], [row[key] for row, key in rows]
                title = f"Validation {name}"
                lines.setdefault((title, unit), []).append(Line(run.name, *points, number))
    found = [charts.line_chart(title, some, unit) for (title, unit), some in lines.items()]
    return [chart for chart in found if chart]


def _short(key: str) -> str | None:
    """A figure's name without its evaluator; None for other keys."""
    return key.split("/", 1)[1] if "/" in key else None


def loss_parts(run: Training) -> Markup | None:
    """The losses that add up to the one that is trained on, where there are several."""
    names = dict.fromkeys(key for row in run.steps for key in row if "loss_" in key)
    if len(names) < 2:
        return None
    lines = []
    for number, name in enumerate(names):
        rows = [row for row in run.steps if name in row]
        lines.append(Line(name, [row["iter"] for row in rows], [row[name] for row in rows], number))
    return charts.line_chart("Parts of the loss", lines, "iteration")


def rate_bars(run: Training) -> Markup | None:
    """The rate of each layer: groups with and without weight decay share theirs."""
    rates: dict[str, float] = {}
    for row in run.lr_groups:
        layer = row["group"].removesuffix("_no_decay").removesuffix("_decay")
        rates[layer] = max(row["lr"], rates.get(layer, 0.0))
    if not rates:
        return None
    title = "Learning rate by layer"
    return charts.bar_chart(title, list(rates), list(rates.values()), "learning rate")


def precision_recall_charts(found: Sequence[tuple[str, int, str, Analysis]]) -> list[Markup]:
    """The main curves of tests of one task on top of each other: name, number, task, analysis."""
    titles: dict[str, list[Line]] = {}
    for name, number, task, analysis in found:
        for _, lines in analysis.curves[:1]:
            for line in lines[:1]:
                title = f"Precision and recall, {task}: {line.name}"
                titles.setdefault(title, []).append(Line(name, line.xs, line.ys, number))
    drawn = [charts.curve_chart(title, lines) for title, lines in titles.items() if len(lines) > 1]
    return [chart for chart in drawn if chart]


def class_tables(found: Sequence[tuple[str, str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each class's first figure, runs beside one another: run, task, figures of each class."""
    tables = []
    for task in dict.fromkeys(task for _, task, _ in found):
        runs = [(name, per_class) for name, one, per_class in found if one == task]
        if len(runs) < 2:
            continue
        figure = next(iter(next(iter(runs[0][1].values()))))
        classes = dict.fromkeys(name for _, per_class in runs for name in per_class)
        rows = [
            (name, {run: per_class.get(name, {}).get(figure) for run, per_class in runs})
            for name in classes
        ]
        tables.append(dict(title=figure, columns=[name for name, _ in runs], rows=rows))
    return tables
