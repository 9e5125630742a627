"""What a work folder holds: the files of a training and of tests, whole, torn or missing.

A file that cannot be read becomes a sentence in ``notes``, not an error: a killed run's folder is
what one most wants to look at.
"""

import csv
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convnext_dense.config.plain import read_plain
from convnext_dense.errors import UserError
from convnext_dense.tasks import entry_of

RESULTS = "results.json"  # in a test's folder, where --out named no other file
SUITE_KEYS = {"suite", "checkpoint", "data"}  # of a file that tools/eval_cls.py --out wrote
SMALL = 1_000_000  # bytes: files of results may be larger than memory
# What shows that a folder is one of a run.
TRACES = ("env.json", "metrics*.json", "lr_groups.csv", "*/vis_data/scalars.json", ".lock")


@dataclass
class Stored:
    """What a training and a test folder have in common.

    Attributes:
        folder: Where it lies.
        config: The resolved config as plain data; empty where it cannot be read.
        config_name: Name of the config file, without suffix.
        config_text: The file as it is.
        metrics: Content of ``metrics.json``; empty where there is none.
        notes: Sentences about what is missing, torn or odd.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_name: str = ""
    config_text: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> str | None:
        """``detection``, ``segmentation``, ``classification``, or None where it is not known."""
        entry = entry_of(self.config) if self.config.get("default_scope") else None
        return entry.name if entry else None


@dataclass
class Test(Stored):
    """A test: its figures, and its results where ``--out`` wrote them."""

    @property
    def limit(self) -> int | None:
        """How many of the pictures were tested, where ``--limit`` left some out."""
        dataset = (self.config.get("test_dataloader") or {}).get("dataset") or {}
        return dataset.get("indices")

    @property
    def results(self) -> Path | None:
        """The file of ``--out``: where the config says, or beside the metrics (moved folders)."""
        evaluator = self.config.get("test_evaluator") or {}
        evaluator = evaluator[0] if isinstance(evaluator, list) else evaluator
        places = [self.folder / RESULTS]
        if named := evaluator.get("outfile"):
            places = [Path(named), self.folder / Path(named).name]
        return next((place for place in places if place.is_file()), None)


@dataclass
class Training(Stored):
    """A training.

    Attributes:
        env: Content of ``env.json``.
        steps: Rows of the log with losses and rates, by ``iter``.
        evaluations: Rows of the log with figures (``coco/bbox_mAP``), by ``step``.
        lr_groups: Rows of ``lr_groups.csv``, numbers as floats.
        tests: Tests of its checkpoints.
        suites: Contents of files of ``tools/eval_cls.py --out``.
    """

    env: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    lr_groups: list[dict[str, Any]] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    suites: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""


def read_runs(folders: list[str | Path]) -> list[Training]:
    """Reads work folders; tests of a training that was named too go to it.

    Raises:
        UserError: For a folder that is missing or no work folder.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    runs = {path: read_folder(path) for path in paths}
    for path, run in list(runs.items()):
        if run.steps or run.lr_groups or not run.tests:
            continue
        home = Path(run.tests[0].metrics.get("checkpoint", "")).resolve().parent
        if home in runs and home != path:
            known = {test.folder for test in runs[home].tests}
            runs[home].tests += [test for test in run.tests if test.folder not in known]
            del runs[path]
    for run, name in zip(runs.values(), _short_names(list(runs)), strict=True):
        run.name = name
    return list(runs.values())


def read_folder(folder: Path) -> Training:
    """Reads one folder and the tests in it and right below it.

    Raises:
        UserError: When it is missing or no work folder.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name a work folder of a run.")
    if not any(any(folder.glob(pattern)) for pattern in TRACES):
        raise UserError(
            f"{folder} is no work folder: it holds no env.json, metrics.json or log. Name the "
            "--work-dir of a training or a test."
        )
    run = Training(folder)
    run.env = _read_json(folder / "env.json", run.notes)
    _read_config(run, training=True)
    _read_log(run)
    run.lr_groups = _read_groups(folder / "lr_groups.csv", run.notes)
    run.metrics = _newest_metrics(folder, run.notes, of_test=False)
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        metrics = _newest_metrics(place, run.notes if place != folder else [], of_test=True)
        if metrics:
            test = Test(place, metrics=metrics)
            _read_config(test, training=False)
            run.tests.append(test)
        run.suites += _suites(place)
    if not run.config and run.tests:  # a folder of a test alone
        run.config, run.config_text = run.tests[0].config, run.tests[0].config_text
        run.config_name = run.tests[0].config_name
    if not run.config:
        run.notes.append("There is no config that can be read in this folder.")
    return run


def _read_config(stored: Stored, training: bool) -> None:
    """Takes the newest config of the kind; a test in a training's folder leaves both there."""
    files = sorted(stored.folder.glob("*.py"), key=lambda path: path.stat().st_mtime, reverse=True)
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            config = read_plain(text)
        except (OSError, SyntaxError, ValueError) as error:
            stored.notes.append(f"{file.name} is no config that can be read ({error}).")
            continue
        if ("train_dataloader" in config) == training:
            stored.config, stored.config_text = config, text
            stored.config_name = re.sub(r"\.\d+$", "", file.stem)
            return


def _read_log(run: Training) -> None:
    """Puts the logs of all starts of a run together; a resumed start replaces what it repeats."""
    torn = 0
    for file in sorted(run.folder.glob("*/vis_data/scalars.json")):
        rows, bad = _json_lines(file)
        torn += bad
        steps = [row for row in rows if "iter" in row]
        figures = [row for row in rows if any("/" in key for key in row) and "step" in row]
        for old, new, key in ((run.steps, steps, "iter"), (run.evaluations, figures, "step")):
            if new:
                old[:] = [row for row in old if row[key] < new[0][key]]
            old.extend(new)
    if torn:
        run.notes.append(f"{torn} line(s) of the log (scalars.json) are torn and left out.")
    bad = [row["iter"] for row in run.steps if not math.isfinite(row.get("loss", 0))]
    if bad:
        run.notes.append(
            f"The loss is not a finite number at {len(bad)} of {len(run.steps)} logged "
            f"iterations, first at iteration {bad[0]}."
        )


def _json_lines(file: Path) -> tuple[list[dict], int]:
    """The rows of a file of JSON lines, and how many lines are none."""
    rows, torn = [], 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            usable = isinstance(row, dict) and all(map(_is_number, row.values()))
        except json.JSONDecodeError:
            usable = False
        if usable:
            rows.append({key: math.nan if value is None else value for key, value in row.items()})
        else:
            torn += 1
    return rows, torn


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)  # null: not a finite number


def _read_json(file: Path, notes: list[str]) -> dict[str, Any]:
    """The object in a file; empty, with a note where the file is torn."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"{file.name} cannot be read ({error}).")
        return {}
    return content if isinstance(content, dict) else {}


def _newest_metrics(folder: Path, notes: list[str], of_test: bool) -> dict[str, Any]:
    """The latest figures of a test, or of a training; earlier ones lie under numbers."""
    files = sorted(folder.glob("metrics*.json"), key=lambda path: path.stat().st_mtime)
    for file in reversed(files):
        found = _read_json(file, notes)
        if found and ("checkpoint" in found) == of_test:
            if wrong := sorted(key for key, value in found.items() if not _fits(key, value)):
                notes.append(f"{file.name} is left out: no figures are in {', '.join(wrong)}.")
                continue
            return found
    return {}


def _fits(key: str, value: Any) -> bool:
    """Whether an entry of ``metrics.json`` is of the kind that this project writes."""
    if key == "checkpoint":
        return isinstance(value, str)
    if key == "per_class":
        rows = value.values() if isinstance(value, dict) else [None]
        return all(
            isinstance(row, dict) and all(_fits("", figure) for figure in row.values())
            for row in rows
        )
    return value is None or _is_number(value)


def _read_groups(file: Path, notes: list[str]) -> list[dict[str, Any]]:
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


def _suites(folder: Path) -> list[dict[str, Any]]:
    """What ``tools/eval_cls.py --out`` wrote into a folder."""
    files = [file for file in sorted(folder.glob("*.json")) if file.stat().st_size < SMALL]
    found = [_read_json(file, []) for file in files]
    return [content for content in found if content.keys() >= SUITE_KEYS]


def _short_names(paths: list[Path]) -> list[str]:
    """The ends of paths that tell them apart."""
    for length in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
