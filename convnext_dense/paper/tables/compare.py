"""The paper's tables beside ours, cell by cell: what is counted, what was run, what is missing."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.paper.tables import costs as table_costs
from convnext_dense.paper.tables import runs as table_runs
from convnext_dense.paper.tables.rows import Cell, Row, rows_of
from convnext_dense.report.work_folders import Training

FIELDS = ("table", "model", "column", "paper", "ours", "source")


def compare(
    table: int | None,
    configs: str | os.PathLike,
    runs: str | os.PathLike | None = None,
    benchmarks: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """All cells of a table, or of all.

    Args:
        table: Its number; None for all.
        configs: Folder of the configs.
        runs: Folder of work folders; figures of trainings and tests come from them.
        benchmarks: ``SIZE:FILE`` each: what ``tools/benchmark.py infer --json`` printed.

    Returns:
        A dict a cell with the keys :data:`FIELDS`. ``ours`` is in the paper's unit, None where
        there is none, and ``source`` says how it was obtained or why it is missing.

    Raises:
        UserError: For an unknown table, or files that cannot be read.
    """
    rows = rows_of(table)  # what is asked for is checked before anything is counted
    trained = table_runs.read_work_folders(runs)
    speeds = table_runs.read_benchmarks(benchmarks)
    return [
        dict(zip(FIELDS, (row.table, row.model, cell.column, cell.paper, *found), strict=True))
        for row in rows
        for cell, found in _cells(row, Path(configs), trained, speeds)
    ]


def _cells(
    row: Row, configs: Path, runs: Sequence[Training], speeds: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Cell, tuple[Any, str]]]:
    counted = {"params_m", "gflops", "blocks", "channels", "sizes"}
    costs: dict[str, Any] = {}
    source = ""
    if any(cell.column in counted for cell in row.cells):
        costs, source = table_costs.measure(row, configs)
    for cell in row.cells:
        if cell.column in counted:
            ours = costs.get(cell.column)
            remark = table_costs.judge(row, cell, ours)
            yield cell, (ours, f"{source}; {remark}" if remark else source)
        elif cell.column == "throughput":
            yield cell, table_runs.throughput(row, speeds, configs)
        else:
            yield cell, table_runs.figure(row, cell, runs, configs)


def format_tables(found: Sequence[Mapping[str, Any]]) -> str:
    """The cells as text, a line each under their table's number."""
    width = max(len(cell["model"]) for cell in found)
    lines, last = [], (None, None)
    for cell in found:
        if cell["table"] != last[0]:
            lines += [""] * bool(lines) + [f"Table {cell['table']}"]
            lines.append(f"{'row':{width}}  {'column':12}  {'paper':>17}  {'ours':>17}  difference")
        model = "" if (cell["table"], cell["model"]) == last else cell["model"]
        last = (cell["table"], cell["model"])
        lines.append(
            f"{model:{width}}  {cell['column']:12}  {_number(cell['paper']):>17}  "
            f"{_number(cell['ours']):>17}  {difference(cell):>10}  {cell['source']}"
        )
    return "\n".join(lines)


def _number(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 1000 else f"{value:.1f}"


def difference(cell: Mapping[str, Any]) -> str:
    """Ours less the paper's: of percentages in points, of the rest in percent of the paper's."""
    paper, ours = cell["paper"], cell["ours"]
    if ours is None:
        return ""
    if isinstance(ours, str):
        return "same" if ours == paper else "other"
    if cell["column"] in ("params_m", "gflops", "throughput"):
        return f"{ours / paper - 1:+.2%}"
    return f"{ours - paper:+.2f}"
