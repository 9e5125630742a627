"""From work folders to one page: everything that a file says goes through the escaping template."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convnext_dense.errors import UserError
from convnext_dense.paper.tables.dense_rows import ROWS
from convnext_dense.paper.tables.figures import find_config, paper_figures
from convnext_dense.report import charts, compare, summary
from convnext_dense.report.analysis import analyse
from convnext_dense.report.findings import Analysis
from convnext_dense.report.work_folders import RESULTS, Stored, Test, Training, read_runs
from convnext_dense.runs.atomic_files import make_folder, write_atomically

MATRIX = 30  # classes up to which the whole matrix is a table
MISTAKES = 15
MANY = 12  # figures from which the headline stands alone


def write_report(folders: Sequence[str], out: Path, configs: Path) -> list[Training]:
    """Writes the page of some runs.

    Args:
        folders: Work folders.
        out: The HTML file.
        configs: Folder of the configs, whose docstrings state the paper's figures.

    Returns:
        What was read.

    Raises:
        UserError: For a folder that is missing or no work folder; where ``out`` cannot be written.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file, such as {out / 'report.html'}.")
    runs = read_runs(list(folders))
    make_folder(out.parent)
    write_atomically(out, render(runs, configs))
    return runs


def render(runs: Sequence[Training], configs: Path) -> str:
    """The page as text, with everything in it."""
    environment = Environment(
        loader=PackageLoader("convnext_dense.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, percent=percent, shade=shade)
    names = dict.fromkeys(
        name
        for run in runs
        for name in summary.final_figures(run)[0]
        if not name.startswith("top5")
    )
    shown = [_run(run, number, configs) for number, run in enumerate(runs)]
    tested = [
        (run["name"], number, run["task"], run["tests"][0]["analysis"])
        for number, run in enumerate(shown)
        if run["tests"] and run["tests"][0]["has_results"]
    ]
    with_classes = [(r["name"], r["task"], r["classes"]) for r in shown if r["classes"]]
    return environment.get_template("page.html").render(
        written=time.strftime("%Y-%m-%d %H:%M %Z"),
        runs=shown,
        headline=summary.HEADLINE,
        many=MANY,
        curves=compare.precision_recall_charts(tested),
        class_tables=compare.class_tables(with_classes),
        figures=list(names),
        over_time=compare.evaluation_charts(runs),
        step_charts=compare.step_charts(runs),
    )


def figure(value: float | None) -> str:
    """A number as short as a table likes it."""
    if value is None:
        return "-"
    whole = isinstance(value, int) or abs(value) >= 100
    return f"{value:,.0f}" if whole else f"{value:.3f}"


def percent(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %"


def shade(share: float, right: bool) -> Markup:
    """Background of a cell of the confusion matrix: blue where right, red where wrong."""
    red, green, blue = (31, 119, 180) if right else (214, 39, 40)
    ink = "#fff" if share > 0.6 else "inherit"
    return Markup(f"background:rgba({red},{green},{blue},{share:.2f});color:{ink}")


def _run(run: Training, number: int, configs: Path) -> dict[str, Any]:
    """All that the template shows of a run."""
    final, source = summary.final_figures(run)
    tests = [_test(test, configs) for test in run.tests]
    return dict(
        anchor=f"run-{number}",
        colour=charts.style(number)["color"],
        name=run.name,
        config=run.config_name or "-",
        task=run.task or "unknown",
        state=summary.progress(run),
        final=final,
        source=source,
        speed=summary.throughput(run),
        notes=run.notes,
        facts=summary.facts(run),
        environment=summary.environment(run),
        config_text=run.config_text,
        parts=compare.loss_parts(run),
        bars=compare.rate_bars(run),
        paper=_paper(run, run.metrics, configs),
        per_class=_per_class(run.metrics),
        classes=_classes((run.tests[0] if run.tests else run).metrics),
        figures=_plain_figures(run.metrics),
        tests=tests,
        suites=[_suite(content) for content in run.suites],
        command=summary.test_command(run) if run.config and run.config_name else None,
        has_training=bool(run.steps or run.lr_groups or run.metrics),
    )


def _test(test: Test, configs: Path) -> dict[str, Any]:
    analysis = analyse(test)
    return dict(
        folder=str(test.folder),
        checkpoint=str(test.metrics.get("checkpoint")),
        figures=_plain_figures(test.metrics),
        paper=_paper(test, test.metrics, configs),
        per_class=_per_class(test.metrics),
        notes=[*test.notes, *_limit(test)],
        command=_again(test),
        **_shown(analysis),
    )


def _limit(test: Test) -> list[str]:
    """A sentence where a test took some of the pictures only."""
    if not test.limit:
        return []
    return [f"This test took the first {test.limit:,} pictures only (--limit)."]


def _shown(analysis: Analysis | None) -> dict[str, Any]:
    if analysis is None:
        return dict(has_results=False)
    confusion = analysis.confusion
    return dict(
        has_results=True,
        analysis=analysis,
        curves=[charts.curve_chart(title, lines) for title, lines in analysis.curves if lines],
        confusion=confusion,
        matrix=confusion is not None and len(confusion.predicted) <= MATRIX,
        mistakes=confusion.mistakes(MISTAKES) if confusion else [],
    )


def _again(test: Test) -> str:
    """The command that tests again, with results."""
    config = test.folder / f"{test.config_name}.py"
    words = ["python", "tools/test.py", config, test.metrics["checkpoint"], "--work-dir"]
    words += [test.folder, "--out", test.folder / RESULTS]
    return shlex.join(map(str, words))


def _plain_figures(metrics: dict[str, Any]) -> list[tuple[str, Any]]:
    """All single figures of a ``metrics.json``; -1 is COCO's word for none."""
    return [
        (name, None if value == -1 else value)
        for name, value in metrics.items()
        if value is None or isinstance(value, int | float)
    ]


def _classes(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each class; empty where the file has none, or something else."""
    rows = metrics.get("per_class")
    if not isinstance(rows, dict) or not all(
        row and isinstance(row, dict) for row in rows.values()
    ):
        return {}
    return rows


def _per_class(metrics: dict[str, Any]) -> dict[str, Any] | None:
    rows = _classes(metrics)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    return dict(columns=columns, rows=list(rows.items())) if rows else None


def _paper(stored: Stored, metrics: dict[str, Any], configs: Path) -> dict[str, Any] | None:
    """The paper's statement on the config, its figures beside ours, and the model's cost."""
    file = find_config(stored.config_name, configs) if stored.config_name else None
    found = paper_figures(file) if file else None
    if found is None:
        return None
    several = " of several scales"
    rows = []
    for name, value in found.figures.items():
        is_several = name.endswith(several)
        ours = metrics.get(name.removesuffix(several)) if metrics else None
        if is_several != bool(metrics.get("tta")):  # of another kind of test
            ours = None
        rows.append((name, value, None if ours is None else 100 * ours))
    cost = next((row for row in ROWS if row.model == stored.config_name), None)
    return dict(text=found.text, rows=rows, cost=cost)


def _suite(content: dict[str, Any]) -> dict[str, Any]:
    """A file of ``tools/eval_cls.py --out``."""
    corruptions = content.get("corruptions")
    corruptions = corruptions if isinstance(corruptions, dict) else {}
    return dict(
        title=str(content["suite"]),
        data=str(content["data"]),
        figures=_plain_figures({k: v for k, v in content.items() if not isinstance(v, bool)}),
        corruptions=[(name, row.get("error"), row.get("CE")) for name, row in corruptions.items()],
    )
