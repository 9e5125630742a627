"""Renders work folders to an HTML page; the template escapes all text from files."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.config.shipped import command_of_test
from convnext_dense.errors import UserError
from convnext_dense.paper.tables.dense_rows import ROWS
from convnext_dense.paper.tables.figures import find_config, paper_figures
from convnext_dense.report import charts, compare
from convnext_dense.report.analysis import analyse_test
from convnext_dense.report.findings import Analysis
from convnext_dense.runs import run_summary
from convnext_dense.runs.saved_runs import RESULTS, Stored, Test, Training, read_runs

MAX_MATRIX_CLASSES = 30  # with more classes there is no table of the confusion matrix
MAX_MISTAKES = 15
MANY_FIGURES = 12  # with more figures only the main ones are shown first


def write_report(folders: Sequence[str], out: Path, configs: Path) -> list[Training]:
    """Writes a page about runs.

    Args:
        folders: Work folders.
        out: The HTML file.
        configs: Folder of the configs, whose docstrings contain the paper's figures.

    Returns:
        The runs.

    Raises:
        UserError: For a folder that is missing or not a work folder, or an ``out`` that cannot be
            written.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give a file, such as {out / 'report.html'}.")
    runs = read_runs(list(folders))
    make_folder(out.parent)
    write_atomically(out, render(runs, configs))
    return runs


def render(runs: Sequence[Training], configs: Path) -> str:
    """The page as HTML text, without external files."""
    environment = Environment(
        loader=PackageLoader("convnext_dense.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=format_figure, percent=format_percent, shade=cell_style)
    names = dict.fromkeys(
        name
        for run in runs
        for name in run_summary.final_figures(run)[0]
        if not name.startswith("top5")
    )
    entries = [_run(run, number, configs) for number, run in enumerate(runs)]
    tested = [
        (run["name"], number, run["task"], run["tests"][0]["analysis"])
        for number, run in enumerate(entries)
        if run["tests"] and run["tests"][0]["has_results"]
    ]
    with_classes = [(r["name"], r["task"], r["classes"]) for r in entries if r["classes"]]
    return environment.get_template("page.html").render(
        written=time.strftime("%Y-%m-%d %H:%M %Z"),
        runs=entries,
        headline=run_summary.HEADLINE,
        many=MANY_FIGURES,
        curves=compare.precision_recall_charts(tested),
        class_tables=compare.class_tables(with_classes),
        figures=list(names),
        over_time=compare.evaluation_charts(runs),
        step_charts=compare.step_charts(runs),
    )


def format_figure(value: float | None) -> str:
    """A number in a short form, for tables."""
    if value is None:
        return "-"
    no_decimals = isinstance(value, int) or abs(value) >= 100
    return f"{value:,.0f}" if no_decimals else f"{value:.3f}"


def format_percent(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %"


def cell_style(share: float, correct: bool) -> Markup:
    """CSS of a cell of the confusion matrix: blue for correct, red for wrong predictions."""
    red, green, blue = (31, 119, 180) if correct else (214, 39, 40)
    text_colour = "#fff" if share > 0.6 else "inherit"
    return Markup(f"background:rgba({red},{green},{blue},{share:.2f});color:{text_colour}")


def _run(run: Training, number: int, configs: Path) -> dict[str, Any]:
    """The template's data of a run."""
    final, source = run_summary.final_figures(run)
    tests = [_test(test, configs) for test in run.tests]
    return dict(
        anchor=f"run-{number}",
        colour=charts.line_style(number)["color"],
        name=run.name,
        config=run.config_name or "-",
        task=run.task or "unknown",
        state=run_summary.progress(run),
        final=final,
        source=source,
        speed=run_summary.throughput(run),
        notes=run.notes,
        configuration=run_summary.configuration(run),
        environment=run_summary.environment(run),
        config_text=run.config_text,
        parts=compare.loss_parts(run),
        bars=compare.learning_rate_bars(run),
        paper=_paper(run, run.metrics, configs),
        per_class=_per_class(run.metrics),
        classes=_classes((run.tests[0] if run.tests else run).metrics),
        figures=_plain_figures(run.metrics),
        tests=tests,
        suites=[_suite(content) for content in run.suites],
        command=run_summary.test_command(run) if run.config and run.config_name else None,
        has_training=bool(run.steps or run.lr_groups or run.metrics),
    )


def _test(test: Test, configs: Path) -> dict[str, Any]:
    analysis = analyse_test(test)
    return dict(
        folder=str(test.folder),
        checkpoint=str(test.metrics.get("checkpoint")),
        figures=_plain_figures(test.metrics),
        paper=_paper(test, test.metrics, configs),
        per_class=_per_class(test.metrics),
        notes=[*test.notes, *_limit(test)],
        command=_test_command(test),
        **_analysis(analysis),
    )


def _limit(test: Test) -> list[str]:
    """A note if a test used only some of the images."""
    if not test.limit:
        return []
    return [f"This test used only the first {test.limit:,} images (--limit)."]


def _analysis(analysis: Analysis | None) -> dict[str, Any]:
    if analysis is None:
        return dict(has_results=False)
    confusion = analysis.confusion
    return dict(
        has_results=True,
        analysis=analysis,
        curves=[charts.curve_chart(title, lines) for title, lines in analysis.curves if lines],
        confusion=confusion,
        matrix=confusion is not None and len(confusion.predicted) <= MAX_MATRIX_CLASSES,
        mistakes=confusion.mistakes(MAX_MISTAKES) if confusion else [],
    )


def _test_command(test: Test) -> str:
    """The command that repeats a test and writes its results."""
    config = test.folder / f"{test.config_name}.py"
    words = [*command_of_test(), config, test.metrics["checkpoint"], "--work-dir"]
    words += [test.folder, "--out", test.folder / RESULTS]
    words += [f"--{flag}" for flag in ("ema", "tta") if test.metrics.get(flag)]
    return shlex.join(map(str, words))


def _plain_figures(metrics: dict[str, Any]) -> list[tuple[str, Any]]:
    """All single figures of a ``metrics.json``; COCO's -1 means no figure."""
    return [
        (name, None if value == -1 else value)
        for name, value in metrics.items()
        if value is None or isinstance(value, int | float)
    ]


def _classes(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each class; empty if the file has none, or has another format."""
    rows = metrics.get("per_class")
    if not isinstance(rows, dict) or not all(
        row and isinstance(row, dict) for row in rows.values()
    ):
        return {}
    return rows


def _per_class(metrics: dict[str, Any]) -> dict[str, Any] | None:
    rows, best = _classes(metrics), metrics.get("best_thresholds") or {}
    rows = {name: {**row, **_best_threshold(best.get(name))} for name, row in rows.items()}
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    return dict(columns=columns, rows=list(rows.items())) if rows else None


def _best_threshold(best: dict[str, Any] | None) -> dict[str, Any]:
    """The columns of the threshold with a class's highest F1, and of its figures."""
    names = {
        "threshold": "best threshold",
        "f1": "F1",
        "precision": "precision",
        "recall": "recall",
    }
    return {title: best.get(name) for name, title in names.items()} if best else {}


def _paper(stored: Stored, metrics: dict[str, Any], configs: Path) -> dict[str, Any] | None:
    """The paper's statement on the config, its figures with ours, and the model's cost."""
    file = find_config(stored.config_name, configs) if stored.config_name else None
    paper = paper_figures(file) if file else None
    if paper is None:
        return None
    suffix = " of several scales"
    rows = []
    for name, value in paper.figures.items():
        multi_scale = name.endswith(suffix)
        ours = run_summary.figure_of_kind(metrics, name.removesuffix(suffix), multi_scale)
        rows.append((name, value, None if ours is None else 100 * ours))
    cost = next((row for row in ROWS if row.model == stored.config_name), None)
    return dict(text=paper.text, rows=rows, cost=cost)


def _suite(content: dict[str, Any]) -> dict[str, Any]:
    """The template's data of a file that ``tools/eval_cls.py --out`` wrote."""
    corruptions = content.get("corruptions")
    corruptions = corruptions if isinstance(corruptions, dict) else {}
    return dict(
        title=str(content["suite"]),
        data=str(content["data"]),
        figures=_plain_figures({k: v for k, v in content.items() if not isinstance(v, bool)}),
        corruptions=[(name, row.get("error"), row.get("CE")) for name, row in corruptions.items()],
    )
