"""Our figures for the tables' rows, from work folders and from files of tools/benchmark.py."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.config.reading import read_config
from convnext_dense.errors import UserError
from convnext_dense.paper.tables.figures import find_config, paper_figures
from convnext_dense.paper.tables.rows import Cell, Row
from convnext_dense.runs.run_summary import figure_of_kind, progress
from convnext_dense.runs.saved_runs import TRACES, Stored, Training, read_runs

FigureAndSource = tuple[float | None, str]
# Keys that tools/benchmark.py prints for each model.
BENCHMARK_KEYS = {"name", "mode", "batch_size", "images_per_s"}
# Column -> (suite of tools/eval_cls.py, key of the figure).
SUITES = {
    "C": ("c", "mCE"),
    "Cbar": ("cbar", "mean_error"),
    "A": ("a", "top1"),
    "R": ("r", "top1"),
    "SK": ("sketch", "top1"),
}
# Column -> key in metrics.json; for classifiers the config's docstring decides.
METRICS = {
    **{f"box_ap{iou}": f"bbox_mAP{iou and '_' + iou}" for iou in ("", "50", "75")},
    **{f"mask_ap{iou}": f"segm_mAP{iou and '_' + iou}" for iou in ("", "50", "75")},
    "miou": "mIoU",
}
TOP1_COLUMNS = ("accuracy", "accuracy_22k", "clean")
NOT_COMPARED = {
    "fps": "of an A100; not read here: tools/benchmark.py detect CONFIG measures it",
    "train_mem_gb": "of the authors' GPUs; not read here: tools/benchmark.py train measures it",
    "accuracy_std": "needs three trainings with several seeds, which are not put together here",
}


def read_work_folders(folder: str | os.PathLike | None) -> list[Training]:
    """Reads all work folders in a folder, or the folder itself if it is one.

    Raises:
        UserError: If there is no such folder, or no work folder in it.
    """
    if folder is None:
        return []
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--runs {folder} is not a folder: give the folder of the work folders.")
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    work_folders = [path for path in folders if any(any(path.glob(trace)) for trace in TRACES)]
    if not work_folders:
        raise UserError(f"--runs {folder} contains no work folder of a training or test.")
    return read_runs(work_folders)


def read_benchmarks(sizes_and_files: Sequence[str]) -> list[Mapping[str, Any]]:
    """Reads the output of ``tools/benchmark.py infer --json``, and adds ``image_size`` to each row.

    Args:
        sizes_and_files: ``SIZE:FILE`` texts; the printed rows do not contain the image size.

    Raises:
        UserError: If a size or a file is missing, or a file is not such a list.
    """
    all_rows = []
    for text in sizes_and_files:
        size, _, path = text.partition(":")
        if not (size.isdecimal() and path):
            raise UserError(f"--benchmark {text} is not SIZE:FILE: write it as in 224:speeds.json.")
        try:
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"--benchmark {path} cannot be read: {error}.") from error
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and row.keys() >= BENCHMARK_KEYS for row in rows
        ):
            raise UserError(
                f"--benchmark {path} is not the output of tools/benchmark.py infer --json."
            )
        all_rows += [dict(row, image_size=int(size)) for row in rows]
    return all_rows


def throughput_from_benchmarks(
    row: Row, rows: Sequence[Mapping[str, Any]], configs: Path
) -> FigureAndSource:
    """Images per second of a row's classifier, from the last matching row of the benchmarks."""
    if not rows:
        return None, "not measured: give --benchmark SIZE:FILE of tools/benchmark.py infer --json"
    name = f"timm:{row.peer}" if row.peer else _variant(row, configs)
    for speed in reversed(rows):
        is_config = speed["name"].endswith(".py") and Path(speed["name"]).stem == row.config
        if speed["mode"] != "infer" or speed["image_size"] != row.size[0]:
            continue
        if is_config or speed["name"] == name:
            source = f"tools/benchmark.py infer {speed['name']}, batch {speed['batch_size']}"
            return speed["images_per_s"], source
    return None, f"the benchmark has no {name or row.config} at {row.size[0]} pixels"


def _variant(row: Row, configs: Path) -> str | None:
    """Our classifier's name in tools/benchmark.py; None for isotropic ones, named by config."""
    config = row.config and find_config(row.config, configs)
    backbone = read_config(config).model.backbone if config else {}
    return f"cls:{backbone.arch}" if backbone.get("type") == "ConvNeXtClassifier" else None


def figure_from_runs(
    row: Row, cell: Cell, runs: Sequence[Training], configs: Path
) -> FigureAndSource:
    """Our figure of a cell in percent, as in the paper, and its source."""
    if cell.column in NOT_COMPARED:
        return None, NOT_COMPARED[cell.column]
    if cell.config is None:
        return None, "a peer's figure: this project has no recipe of its training"
    of_config = [run for run in runs if run.config_name == cell.config]
    if not of_config:
        return None, f"not trained: no run of {cell.config}" + ("" if runs else " (--runs DIR)")
    comparable = [run for run in of_config if not has_other_data(run, cell.config, configs)]
    if not comparable:
        return None, f"{of_config[-1].name} has other data than {cell.config}"
    figures = [figure for run in comparable for figure in _figures(row, cell, run, configs)]
    if not figures:
        return None, f"{of_config[-1].name} has no figure of it" + (
            ": test with --tta" if (row.table, cell.column) == (4, "miou") else ""
        )
    _, value, source = max(figures, key=lambda figure: figure[0])  # the newest
    return 100 * value, source


def _figures(
    row: Row, cell: Cell, run: Training, configs: Path
) -> Iterator[tuple[tuple[Any, Any], float, str]]:
    """(order, value, source) for each file of a run that contains the cell's figure."""
    state = progress(run)
    state = "" if state.startswith(("finished", "test only")) else f"; {state}"
    if cell.column in SUITES:
        suite, key = SUITES[cell.column]
        for i, content in enumerate(run.suites):
            if content["suite"] == suite and isinstance(content.get(key), int | float):
                on_the_fly = "; corrupted on the fly" if content.get("made_on_the_fly") else ""
                source = f"{run.name}: tools/eval_cls.py {suite}{on_the_fly}{state}"
                yield (1, i), content[key], source
        return
    name = _metric_key(cell, configs)
    multi_scale = (row.table, cell.column) == (4, "miou")
    tests: list[tuple[str, Stored]] = [("test", test) for test in run.tests]
    for kind, stored in [*tests, ("validation", run)]:
        value = figure_of_kind(stored.metrics, name, multi_scale)
        if isinstance(value, int | float):
            limit = getattr(stored, "limit", None)
            kind += f" of {limit:,} images" if limit else ""
            kind += " at several scales" if multi_scale else ""
            order = (kind != "validation", stored.folder.stat().st_mtime)
            yield order, value, f"{run.name}: {kind}, {name}{state}"


def _metric_key(cell: Cell, configs: Path) -> str:
    if cell.column not in TOP1_COLUMNS:
        return METRICS[cell.column]
    config = find_config(cell.config, configs)
    stated = paper_figures(config) if config else None
    return next(iter(stated.figures), "top1") if stated else "top1"


def has_other_data(run: Training, config: str, configs: Path) -> bool:
    """Whether a run used other data than its config's recipe."""
    path = find_config(config, configs)
    if path is None:
        return False
    recipe = read_config(path)
    for split in ("test_dataloader", "val_dataloader"):
        used = (run.config.get(split) or {}).get("dataset") or {}
        planned = recipe.get(split, {}).get("dataset", {})
        keys = [key for key in ("type", "ann_file") if key in planned and key in used]
        if any(used[key] != planned[key] for key in keys):
            return True
        if used and not _ends_with(used.get("data_root"), planned.get("data_root")):
            return True
    return False


def _ends_with(path: str | None, end: str | None) -> bool:
    """Whether a folder is the recipe's folder in any data root."""
    parts = Path(end or "").parts
    return Path(path or "").parts[-len(parts) :] == parts if parts else True
