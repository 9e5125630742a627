"""The chain of commands that reproduces a row of the paper: pretraining, fine-tuning and tests.

A step is finished when its outputs exist, so a chain can be interrupted at any time.
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
# Suite of tools/eval_cls.py -> its folder in the data root.
SUITE_FOLDERS = {
    "a": "imagenet-a",
    "r": "imagenet-r",
    "sketch": "imagenet-sketch",
    "c": "imagenet-c",
    "cbar": "imagenet-c-bar",
}


@dataclass(frozen=True)
class ReproduceSettings:
    """Settings of a chain.

    Attributes:
        root: Folder with ``configs/``, and with ``tools/`` in a clone, as the commands name it.
        work_dir: Folder of the work folders.
        data_root: As ``--data-root``; None for the tools' default.
        gpus: Number of processes with a GPU each; 0 for one process on the default device.
    """

    root: Path
    work_dir: Path
    data_root: str | None = None
    gpus: int = 8


@dataclass(frozen=True)
class Step:
    """One command of a chain.

    Attributes:
        name: Title of the step.
        words: The command's words; the first one is ``python`` or ``torchrun``.
        folder: Folder of its outputs.
        output: The JSON file that the step writes last.
        expected: Required entries of ``output``; numbers may be larger.
        checkpoint: A file that must exist too.
        config: Config file whose data the step needs.
        splits: Splits of that data: ``train``, ``val``, ``test``.
        data: Another folder that the step needs.
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
        """Whether its outputs exist."""
        try:
            content = json.loads(self.output.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return (self.checkpoint is None or self.checkpoint.is_file()) and all(
            _reaches(content.get(key), value) for key, value in self.expected.items()
        )

    @property
    def command(self) -> tuple[str, ...]:
        """The command's words; a training that was started before is resumed."""
        started = self.splits == ("train", "val") and (self.folder / "lr_groups.csv").exists()
        return (*self.words, "--resume") if started else self.words


def _reaches(value: Any, expected: Any) -> bool:
    if isinstance(expected, str):  # the file name of a checkpoint, in any folder
        return Path(str(value)).name == expected
    return bool(value) == expected if isinstance(expected, bool) else (value or 0) >= expected


def find_row(key: str) -> Row:
    """Finds a row by ``TABLE:model``, or by ``TABLE:n``, where n counts from 1.

    Raises:
        UserError: If there is no such row; the message has the nearest name and all names.
    """
    table, _, name = key.partition(":")
    if not (table.isdecimal() and name):
        raise UserError(f"A row is TABLE:ROW, such as 3:cascade_convnext_t_3x, not {key!r}.")
    rows = rows_of(int(table))
    by_name = {row.model: row for row in rows} | {str(n): row for n, row in enumerate(rows, 1)}
    if name in by_name:
        return by_name[name]
    nearest = get_close_matches(name, [row.model for row in rows], n=1, cutoff=0)[0]
    keys = ", ".join(row.key for row in rows)
    raise UserError(
        f"Table {table} has no row {name!r}; the nearest is '{table}:{nearest}'. Its rows: {keys}."
    )


def steps_of_row(row: Row, settings: ReproduceSettings) -> list[Step]:
    """All steps of a row, in the order of execution.

    Raises:
        UserError: If this project has no recipe for the row's model, or the recipe does not fit
            the number of GPUs.
    """
    if not row.configs:
        raise UserError(
            f"{row.key} is a peer's row, and this project has no recipe for its training; "
            "`tools/paper.py tables` counts what it costs."
        )
    steps: dict[Path, Step] = {}
    for name in row.configs:
        for step in _steps_of_config(name, row, settings):
            steps.setdefault(step.output, step)
    return list(steps.values())


def _steps_of_config(name: str, row: Row, settings: ReproduceSettings) -> Iterator[Step]:
    path = next((settings.root / "configs").rglob(f"{name}.py"))
    cfg = read_config(path)
    parent, flags = _pretraining(cfg, settings)
    if parent:
        yield _training(parent, read_config(parent), (), settings)
    training = _training(path, cfg, flags, settings)
    yield training
    yield _test(path, training, settings, multi_scale=False)
    if "tta_views" in cfg:
        yield _test(path, training, settings, multi_scale=True)
    for cell in row.cells:
        if cell.column in SUITES and cell.config == name:
            yield _suite(SUITES[cell.column][0], path, training, settings)


def _pretraining(cfg: Config, settings: ReproduceSettings) -> tuple[Path | None, tuple[str, ...]]:
    """The config of the pretraining that a recipe starts from, and the flags that use its weights.

    Peers start from a downloaded file instead.
    """
    start = (cfg.model.backbone.get("init_cfg") or {}).get("checkpoint", "")
    match = re.fullmatch(r"convnext_([a-z]+)_(1k|22k)_224(_ema)?", start)
    if not match:
        return None, ()
    name = f"convnext_{LETTERS[match[1]]}_{PRETRAINING[match[2]]}"
    flags = ("--backbone-weights", str(settings.work_dir / name), *(["--ema"] if match[3] else []))
    return settings.root / f"configs/classification/{name}.py", flags


def _training(path: Path, cfg: Config, flags: tuple[str, ...], settings: ReproduceSettings) -> Step:
    folder = settings.work_dir / path.stem
    unit = "epoch" if cfg.train_cfg.get("max_epochs") else "iter"
    planned = cfg.train_cfg[f"max_{unit}s"]
    tool = "pretrain_cls" if cfg.model.type == "ImageClassifier" else "train"
    words = _words(settings, tool, str(path), "--work-dir", str(folder), *flags)
    batches = _batches_per_step(path.stem, cfg, unit, settings.gpus)
    if batches > 1:
        words += ("--accumulate", str(batches))
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


def _batches_per_step(name: str, cfg: Config, unit: str, gpus: int) -> int:
    """Batches per optimizer step, so that a step has as many images as in the recipe."""
    images = cfg.auto_scale_lr.base_batch_size
    batch = cfg.train_dataloader.batch_size * max(gpus, 1)
    if images % batch:
        raise UserError(
            f"{name} has {images} images in a step, which is not a multiple of {batch}: choose "
            "another --gpus, such as 8."
        )
    if unit == "iter" and images != batch:
        raise UserError(
            f"{name} counts iterations of {images} images: it needs --gpus "
            f"{images // cfg.train_dataloader.batch_size}."
        )
    return images // batch


def _test(path: Path, training: Step, settings: ReproduceSettings, multi_scale: bool) -> Step:
    folder = training.folder / ("test_tta" if multi_scale else "test")
    words = _words(
        settings, "test", str(path), str(training.checkpoint), "--work-dir", str(folder),
        *["--tta"] * multi_scale,
    )  # fmt: skip
    return Step(
        f"test of {path.stem}" + " at several scales" * multi_scale,
        words,
        folder,
        folder / "metrics.json",
        {"checkpoint": training.checkpoint.name, "tta": multi_scale},
        config=path,
        splits=("test",),
    )


def _suite(suite: str, path: Path, training: Step, settings: ReproduceSettings) -> Step:
    out = training.folder / f"{suite}.json"
    root = settings.data_root or os.environ.get(DATA_ROOT_VARIABLE, DEFAULT_DATA_ROOT)
    data = Path(root) / SUITE_FOLDERS[suite]
    figures = paper_figures(path)
    ema = ["--ema"] if figures and "top1_ema" in figures.figures else []
    words = (
        "python", *_script(settings, "eval_cls"), str(training.checkpoint),
        "--data", str(data), "--suite", suite, "--out", str(out), *ema,
    )  # fmt: skip
    expected = {"suite": suite, "checkpoint": training.checkpoint.name}
    name = f"test of {path.stem} on {SUITE_FOLDERS[suite]}"
    return Step(name, words, training.folder, out, expected, data=data)


def _words(settings: ReproduceSettings, tool: str, *arguments: str) -> tuple[str, ...]:
    """The words of a tool's command, with a process for each GPU."""
    script = _script(settings, tool)
    data = ("--data-root", settings.data_root) if settings.data_root else ()
    if settings.gpus < 2:
        return ("python", *script, *arguments, *data)
    launch = ("torchrun", "--nproc-per-node", str(settings.gpus))
    return (*launch, *script, *arguments, *data, "--launcher", "pytorch")


def _script(settings: ReproduceSettings, tool: str) -> tuple[str, ...]:
    """What Python or torchrun is to run: a script of the clone, or the installed package."""
    if (settings.root / "tools").is_dir():
        return (str(settings.root / f"tools/{tool}.py"),)
    return ("-m", "convnext_dense", tool.removesuffix("_cls"))
