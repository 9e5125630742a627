"""The paper's tables beside our counted and trained figures, cell by cell."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.paper.tables import costs as table_costs
from convnext_dense.paper.tables import runs as table_runs
from convnext_dense.paper.tables.rows import Cell, Row, rows_of
from convnext_dense.runs.saved_runs import Training
from convnext_dense.text_table import format_columns

FIELDS = ("table", "model", "column", "paper", "ours", "source")


def compare_tables(
    table: int | None,
    configs: str | os.PathLike,
    runs: str | os.PathLike | None = None,
    benchmarks: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Compares all cells of one table, or of all tables.

    Args:
        table: Number of the table; None for all tables.
        configs: Folder of the configs.
        runs: Folder of work folders with trainings and tests.
        benchmarks: ``SIZE:FILE`` texts; a file has the output of ``tools/benchmark.py infer
            --json``.

    Returns:
        A dict for each cell with the keys :data:`FIELDS`. ``ours`` is in the paper's unit, or None;
        ``source`` says how it was obtained, or why it is missing.

    Raises:
        UserError: For an unknown table, or files that cannot be read.
    """
    rows = rows_of(table)  # refuses an unknown table before anything is counted
    trained = table_runs.read_work_folders(runs)
    speeds = table_runs.read_benchmarks(benchmarks)
    return [
        dict(zip(FIELDS, (row.table, row.model, cell.column, cell.paper, *figure), strict=True))
        for row in rows
        for cell, figure in _cells(row, Path(configs), trained, speeds)
    ]


def _cells(
    row: Row, configs: Path, runs: Sequence[Training], speeds: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Cell, tuple[Any, str]]]:
    counted_columns = {"params_m", "gflops", "blocks", "channels", "sizes"}
    costs: dict[str, Any] = {}
    source = ""
    if any(cell.column in counted_columns for cell in row.cells):
        costs, source = table_costs.count_row(row, configs)
    for cell in row.cells:
        if cell.column in counted_columns:
            ours = costs.get(cell.column)
            remark = table_costs.judge(row, cell, ours)
            yield cell, (ours, f"{source}; {remark}" if remark else source)
        elif cell.column == "throughput":
            yield cell, table_runs.throughput_from_benchmarks(row, speeds, configs)
        else:
            yield cell, table_runs.figure_from_runs(row, cell, runs, configs)


def format_tables(cells: Sequence[Mapping[str, Any]]) -> str:
    """The cells as text: a title and a header for each table, and a line for each cell."""
    keys = [(cell["table"], cell["model"]) for cell in cells]
    rows = [
        (
            "" if key == previous else cell["model"],
            cell["column"],
            _number(cell["paper"]),
            _number(cell["ours"]),
            difference(cell),
            cell["source"],
        )
        for cell, key, previous in zip(cells, keys, [None, *keys], strict=False)
    ]
    header = ("row", "column", "paper", "ours", "difference", "")
    alignment = ("<", "<12", ">17", ">17", ">10", "<")
    header_line, *row_lines = format_columns([header, *rows], alignment)
    lines: list[str] = []
    previous_table = None
    for cell, line in zip(cells, row_lines, strict=True):
        if cell["table"] != previous_table:
            previous_table = cell["table"]
            lines += [""] * bool(lines) + [f"Table {previous_table}", header_line]
        lines.append(line)
    return "\n".join(lines)


def _number(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 1000 else f"{value:.1f}"


def difference(cell: Mapping[str, Any]) -> str:
    """Our figure minus the paper's: in points for percentages, otherwise in percent."""
    paper, ours = cell["paper"], cell["ours"]
    if ours is None:
        return ""
    if isinstance(ours, str):
        return "same" if ours == paper else "other"
    if cell["column"] in ("params_m", "gflops", "throughput"):
        return f"{ours / paper - 1:+.2%}"
    return f"{ours - paper:+.2f}"
