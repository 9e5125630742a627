"""The steps to a row's figures: pretraining, fine-tuning, tests; each knows if it is done.

A step is finished when its outputs are in its folder, so a chain can be stopped anywhere.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.config.data_root import DATA_ROOT_VARIABLE, DEFAULT_DATA_ROOT
from convnext_dense.config.reading import read_config
from convnext_dense.errors import UserError
from convnext_dense.paper.tables.figures import paper_figures
from convnext_dense.paper.tables.rows import Row, rows_of
from convnext_dense.paper.tables.runs import SUITES

LETTERS = {"tiny": "t", "small": "s", "base": "b", "large": "l", "xlarge": "xl"}
PRETRAINING = {"1k": "in1k_300e", "22k": "in22k_90e"}
# Suite of tools/eval_cls.py -> its folder below the data root.
SUITE_FOLDERS = {
    "a": "imagenet-a",
    "r": "imagenet-r",
    "sketch": "imagenet-sketch",
    "c": "imagenet-c",
    "cbar": "imagenet-c-bar",
}


@dataclass(frozen=True)
class Place:
    """Where a chain runs.

    Attributes:
        root: Folder that holds ``tools/`` and ``configs/``, as commands are to name it.
        work_dir: Folder of the work folders.
        data_root: As ``--data-root``; None for the tools' own default.
        gpus: Processes with a GPU each; 0 for one process on what there is.
    """

    root: Path
    work_dir: Path
    data_root: str | None = None
    gpus: int = 8


@dataclass(frozen=True)
class Step:
    """One command of a chain.

    Attributes:
        name: What it is, in words.
        words: The command; it begins with ``python`` or ``torchrun``.
        folder: Where its outputs go.
        output: The file that is there last.
        expected: Entries that this JSON file must have at least; numbers may be larger.
        checkpoint: Another file that must be there.
        config: Config file whose data it needs, with the ``splits`` of it.
        splits: ``train``, ``val``, ``test``.
        data: A folder that it needs.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    output: Path
    expected: dict[str, Any]
    checkpoint: Path | None = None
    config: Path | None = None
    splits: tuple[str, ...] = ()
    data: Path | None = None

    @property
    def is_done(self) -> bool:
        """Whether its outputs are there."""
        try:
            content = json.loads(self.output.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return (self.checkpoint is None or self.checkpoint.is_file()) and all(
            _reaches(content.get(key), value) for key, value in self.expected.items()
        )

    @property
    def command(self) -> tuple[str, ...]:
        """The command as it is to be run now: a training that has begun is resumed."""
        begun = self.splits == ("train", "val") and (self.folder / "lr_groups.csv").exists()
        return (*self.words, "--resume") if begun else self.words


def _reaches(found: Any, value: Any) -> bool:
    if isinstance(value, str):  # a checkpoint's name, wherever its folder lies
        return Path(str(found)).name == value
    return bool(found) == value if isinstance(value, bool) else (found or 0) >= value


def row_named(key: str) -> Row:
    """The row of a key ``TABLE:model``, or ``TABLE:n`` for the nth row of a table, from 1.

    Raises:
        UserError: When there is none, with the nearest and the keys of its table.
    """
    table, _, name = key.partition(":")
    if not (table.isdecimal() and name):
        raise UserError(f"A row is TABLE:ROW, such as 3:cascade_convnext_t_3x, not {key!r}.")
    rows = rows_of(int(table))
    found = {row.model: row for row in rows} | {str(n): row for n, row in enumerate(rows, 1)}
    if name in found:
        return found[name]
    near = get_close_matches(name, [row.model for row in rows], n=1, cutoff=0)[0]
    keys = ", ".join(row.key for row in rows)
    raise UserError(
        f"Table {table} has no row {name!r}; the nearest is '{table}:{near}'. It has: {keys}."
    )


def steps_of(row: Row, place: Place) -> list[Step]:
    """All steps of a row, in the order in which they run.

    Raises:
        UserError: When the row is one of others' models without a recipe here, or its recipe does
            not fit the number of GPUs.
    """
    if not row.configs:
        raise UserError(
            f"{row.key} is a peer's row, and this project has no recipe of its training; "
            "`tools/paper.py tables` counts what it costs."
        )
    steps: dict[Path, Step] = {}
    for name in row.configs:
        for step in _steps_of_config(name, row, place):
            steps.setdefault(step.output, step)
    return list(steps.values())


def _steps_of_config(name: str, row: Row, place: Place) -> Iterator[Step]:
    path = next((place.root / "configs").rglob(f"{name}.py"))
    cfg = read_config(path)
    parent, flags = _pretraining(cfg, place)
    if parent:
        yield _training(parent, read_config(parent), (), place)
    training = _training(path, cfg, flags, place)
    yield training
    for views in (False, True)[: 1 + ("tta_views" in cfg)]:
        yield _test(path, training, views, place)
    for cell in row.cells:
        if cell.column in SUITES and cell.config == name:
            yield _suite(SUITES[cell.column][0], path, training, place)


def _pretraining(cfg: Config, place: Place) -> tuple[Path | None, tuple[str, ...]]:
    """The config of what a recipe starts from, and the flags that take it; peers use a file."""
    start = (cfg.model.backbone.get("init_cfg") or {}).get("checkpoint", "")
    found = re.fullmatch(r"convnext_([a-z]+)_(1k|22k)_224(_ema)?", start)
    if not found:
        return None, ()
    name = f"convnext_{LETTERS[found[1]]}_{PRETRAINING[found[2]]}"
    flags = ("--backbone-weights", str(place.work_dir / name), *(["--ema"] if found[3] else []))
    return place.root / f"configs/classification/{name}.py", flags


def _training(path: Path, cfg: Config, flags: tuple[str, ...], place: Place) -> Step:
    folder = place.work_dir / path.stem
    unit = "epoch" if cfg.train_cfg.get("max_epochs") else "iter"
    planned = cfg.train_cfg[f"max_{unit}s"]
    classifying = cfg.model.type == "ImageClassifier"
    tool = "pretrain_cls" if classifying else "train"
    words = _words(place, tool, str(path), "--work-dir", str(folder), *flags)
    accumulated = _accumulated(path.stem, cfg, unit, place.gpus)
    if accumulated > 1:
        words += ("--accumulate", str(accumulated))
    return Step(
        f"training of {path.stem}",
        words,
        folder,
        folder / "metrics.json",
        {unit: planned},
        folder / f"{unit}_{planned}.pth",
        path,
        ("train", "val"),
    )


def _accumulated(name: str, cfg: Config, unit: str, gpus: int) -> int:
    """Batches a step, so that a step has as many pictures as the recipe's."""
    pictures = cfg.auto_scale_lr.base_batch_size
    batch = cfg.train_dataloader.batch_size * max(gpus, 1)
    if pictures % batch:
        raise UserError(
            f"{name} takes {pictures} pictures a step, which {batch} at a time do not make: "
            "choose --gpus so that they do, such as 8."
        )
    if unit == "iter" and pictures != batch:
        raise UserError(
            f"{name} counts iterations of {pictures} pictures: it needs --gpus "
            f"{pictures // cfg.train_dataloader.batch_size}."
        )
    return pictures // batch


def _test(path: Path, training: Step, views: bool, place: Place) -> Step:
    folder = training.folder / ("test_tta" if views else "test")
    words = _words(
        place, "test", str(path), str(training.checkpoint), "--work-dir", str(folder),
        *["--tta"] * views,
    )  # fmt: skip
    return Step(
        f"test of {path.stem}" + " at several scales" * views,
        words,
        folder,
        folder / "metrics.json",
        {"checkpoint": training.checkpoint.name, "tta": views},
        config=path,
        splits=("test",),
    )


def _suite(suite: str, path: Path, training: Step, place: Place) -> Step:
    out = training.folder / f"{suite}.json"
    root = place.data_root or os.environ.get(DATA_ROOT_VARIABLE, DEFAULT_DATA_ROOT)
    data = Path(root) / SUITE_FOLDERS[suite]
    stated = paper_figures(path)
    averaged = ["--ema"] if stated and "top1_ema" in stated.figures else []
    words = (
        "python", str(place.root / "tools/eval_cls.py"), str(training.checkpoint),
        "--data", str(data), "--suite", suite, "--out", str(out), *averaged,
    )  # fmt: skip
    expected = {"suite": suite, "checkpoint": training.checkpoint.name}
    name = f"test of {path.stem} on {SUITE_FOLDERS[suite]}"
    return Step(name, words, training.folder, out, expected, data=data)


def _words(place: Place, tool: str, *arguments: str) -> tuple[str, ...]:
    """A tool's command, in as many processes as there are GPUs."""
    script = str(place.root / f"tools/{tool}.py")
    data = ("--data-root", place.data_root) if place.data_root else ()
    if place.gpus < 2:
        return ("python", script, *arguments, *data)
    start = ("torchrun", "--nproc-per-node", str(place.gpus))
    return (*start, script, *arguments, *data, "--launcher", "pytorch")
