"""Reading work folders: the files of a training and of its tests, which may be damaged or missing.

An unreadable file becomes a sentence in ``notes`` and not an error, since the report must also work
for runs that were killed.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convnext_dense.config.plain import read_plain
from convnext_dense.errors import UserError
from convnext_dense.runs.saved_files import (
    read_json,
    read_json_lines,
    read_lr_groups,
    read_newest_metrics,
    read_suites,
)
from convnext_dense.tasks import entry_of

RESULTS = "results.json"  # in a test's folder, unless --out named another file
# Files that show that a folder is a work folder.
TRACES = ("env.json", "metrics*.json", "lr_groups.csv", "*/vis_data/scalars.json", ".lock")


@dataclass
class Stored:
    """The common content of a training folder and a test folder.

    Attributes:
        folder: Path of the folder.
        config: The resolved config as plain data; empty if it cannot be read.
        config_name: Name of the config file, without suffix.
        config_text: Text of the config file.
        metrics: Content of ``metrics.json``; empty if there is none.
        notes: Sentences about missing, damaged or inconsistent files.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_name: str = ""
    config_text: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> str | None:
        """``detection``, ``segmentation``, ``classification``, or None if unknown."""
        entry = entry_of(self.config) if self.config.get("default_scope") else None
        return entry.name if entry else None


@dataclass
class Test(Stored):
    """A test: its figures, and its results if ``--out`` wrote them."""

    @property
    def limit(self) -> int | None:
        """Number of tested images if ``--limit`` was given, or None."""
        dataset = (self.config.get("test_dataloader") or {}).get("dataset") or {}
        return dataset.get("indices")

    @property
    def results(self) -> Path | None:
        """The file of ``--out``: the config's path, or in this folder if the folder was moved."""
        evaluator = self.config.get("test_evaluator") or {}
        evaluator = evaluator[0] if isinstance(evaluator, list) else evaluator
        candidates = [self.folder / RESULTS]
        if outfile := evaluator.get("outfile"):
            candidates = [Path(outfile), self.folder / Path(outfile).name]
        return next((path for path in candidates if path.is_file()), None)


@dataclass
class Training(Stored):
    """A training.

    Attributes:
        env: Content of ``env.json``.
        steps: Rows of the log with losses and learning rates, by ``iter``.
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
    """Reads work folders; separate test folders are added to their training, if it is given too.

    Raises:
        UserError: For a folder that is missing or not a work folder.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    runs = {path: read_folder(path) for path in paths}
    for path, run in list(runs.items()):
        if run.steps or run.lr_groups or not run.tests:
            continue
        training = Path(run.tests[0].metrics.get("checkpoint", "")).resolve().parent
        if training in runs and training != path:
            known = {test.folder for test in runs[training].tests}
            runs[training].tests += [test for test in run.tests if test.folder not in known]
            del runs[path]
    for run, name in zip(runs.values(), _short_names(list(runs)), strict=True):
        run.name = name
    return list(runs.values())


def read_folder(folder: Path) -> Training:
    """Reads a folder, with the tests in it and in its direct subfolders.

    Raises:
        UserError: If it is missing or not a work folder.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give the work folder of a run.")
    if not any(any(folder.glob(pattern)) for pattern in TRACES):
        raise UserError(
            f"{folder} is no work folder: it contains no env.json, metrics.json or log. Give the "
            "--work-dir of a training or a test."
        )
    run = Training(folder)
    run.env = read_json(folder / "env.json", run.notes)
    _read_config(run, training=True)
    _read_log(run)
    run.lr_groups = read_lr_groups(folder / "lr_groups.csv", run.notes)
    run.metrics = read_newest_metrics(folder, run.notes, of_test=False)
    for path in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        metrics = read_newest_metrics(path, run.notes if path != folder else [], of_test=True)
        if metrics:
            test = Test(path, metrics=metrics)
            _read_config(test, training=False)
            run.tests.append(test)
        run.suites += read_suites(path)
    if not run.config and run.tests:  # a test folder
        run.config, run.config_text = run.tests[0].config, run.tests[0].config_text
        run.config_name = run.tests[0].config_name
    if not run.config:
        run.notes.append("There is no config that can be read in this folder.")
    return run


def _read_config(stored: Stored, training: bool) -> None:
    """Reads the newest config of a training or a test; a folder may contain both."""
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
    """Joins the logs of all starts of a run; a resumed start replaces repeated steps."""
    damaged = 0
    for file in sorted(run.folder.glob("*/vis_data/scalars.json")):
        rows, unreadable = read_json_lines(file)
        damaged += unreadable
        steps = [row for row in rows if "iter" in row]
        figures = [row for row in rows if any("/" in key for key in row) and "step" in row]
        for old, new, key in ((run.steps, steps, "iter"), (run.evaluations, figures, "step")):
            if new:
                old[:] = [row for row in old if row[key] < new[0][key]]
            old.extend(new)
    if damaged:
        run.notes.append(f"{damaged} line(s) of the log (scalars.json) are damaged and left out.")
    not_finite = [row["iter"] for row in run.steps if not math.isfinite(row.get("loss", 0))]
    if not_finite:
        run.notes.append(
            f"The loss is not a finite number at {len(not_finite)} of {len(run.steps)} logged "
            f"iterations, first at iteration {not_finite[0]}."
        )


def _short_names(paths: list[Path]) -> list[str]:
    """The shortest ends of the paths that are unique."""
    for length in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
