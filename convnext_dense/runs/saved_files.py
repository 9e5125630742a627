"""Reading the JSON and CSV files of a work folder, which may be damaged or missing."""

import csv
import json
import math
from pathlib import Path
from typing import Any

SUITE_KEYS = {"suite", "checkpoint", "data"}  # of a file that tools/eval_cls.py --out wrote
MAX_SUITE_BYTES = 1_000_000  # larger JSON files are not read: they are results


def read_json_lines(file: Path) -> tuple[list[dict], int]:
    """The rows of a file of JSON lines, and the number of unreadable lines."""
    rows, unreadable = [], 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            usable = isinstance(row, dict) and all(map(_is_number, row.values()))
        except json.JSONDecodeError:
            usable = False
        if usable:
            rows.append({key: math.nan if value is None else value for key, value in row.items()})
        else:
            unreadable += 1
    return rows, unreadable


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)  # null means not finite


def read_json(file: Path, notes: list[str]) -> dict[str, Any]:
    """The JSON object in a file; empty if it is missing or unreadable (with a note)."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"{file.name} cannot be read ({error}).")
        return {}
    return content if isinstance(content, dict) else {}


def read_newest_metrics(folder: Path, notes: list[str], of_test: bool) -> dict[str, Any]:
    """The latest figures of a test or of a training; earlier files have a number in the name."""
    files = sorted(folder.glob("metrics*.json"), key=lambda path: path.stat().st_mtime)
    for file in reversed(files):
        metrics = read_json(file, notes)
        if metrics and ("checkpoint" in metrics) == of_test:
            if wrong := sorted(key for key, value in metrics.items() if not _is_valid(key, value)):
                notes.append(f"{file.name} is left out: no figures are in {', '.join(wrong)}.")
                continue
            return metrics
    return {}


def _is_valid(key: str, value: Any) -> bool:
    """Whether an entry of ``metrics.json`` has the type that this project writes."""
    if key == "checkpoint":
        return isinstance(value, str)
    if key in ("per_class", "best_thresholds"):
        rows = value.values() if isinstance(value, dict) else [None]
        return all(
            isinstance(row, dict) and all(_is_valid("", figure) for figure in row.values())
            for row in rows
        )
    return value is None or _is_number(value)


def read_lr_groups(file: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        return [
            {**row, "lr": float(row["lr"]), "num_elements": int(row["num_elements"])}
            for row in rows
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        notes.append(f"{file.name} cannot be read ({type(error).__name__}: {error}).")
        return []


def read_suites(folder: Path) -> list[dict[str, Any]]:
    """Reads the files that ``tools/eval_cls.py --out`` wrote into a folder."""
    files = [
        file for file in sorted(folder.glob("*.json")) if file.stat().st_size < MAX_SUITE_BYTES
    ]
    contents = [read_json(file, []) for file in files]
    return [content for content in contents if content.keys() >= SUITE_KEYS]
