"""Our own figures of the tables' rows: from work folders and from a file of tools/benchmark.py."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.config.reading import read_config
from convnext_dense.errors import UserError
from convnext_dense.paper.tables.figures import find_config, paper_figures
from convnext_dense.paper.tables.rows import Cell, Row
from convnext_dense.report.summary import progress
from convnext_dense.report.work_folders import TRACES, Stored, Training, read_runs

Found = tuple[float | None, str]
# What tools/benchmark.py prints of each model.
MEASURED = {"name", "mode", "batch_size", "images_per_s"}
# Column -> (suite of tools/eval_cls.py, its figure).
SUITES = {
    "C": ("c", "mCE"),
    "Cbar": ("cbar", "mean_error"),
    "A": ("a", "top1"),
    "R": ("r", "top1"),
    "SK": ("sketch", "top1"),
}
# Column -> its name in metrics.json; classifiers' names stand in their configs' docstrings.
METRICS = {
    **{f"box_ap{iou}": f"bbox_mAP{iou and '_' + iou}" for iou in ("", "50", "75")},
    **{f"mask_ap{iou}": f"segm_mAP{iou and '_' + iou}" for iou in ("", "50", "75")},
    "miou": "mIoU",
}
TOP1 = ("accuracy", "accuracy_22k", "clean")
NEVER = {
    "fps": "of an A100; not read here: tools/benchmark.py detect CONFIG measures it",
    "train_mem_gb": "of the authors' GPUs; not read here: tools/benchmark.py train measures it",
    "accuracy_std": "needs three trainings with several seeds, which are not put together here",
}


def read_work_folders(folder: str | os.PathLike | None) -> list[Training]:
    """The runs whose work folders lie in a folder, or that one run.

    Raises:
        UserError: Where there is no such folder, or no work folder in it.
    """
    if folder is None:
        return []
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--runs names {folder}, which is no folder: name the one of the runs.")
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    places = [place for place in places if any(any(place.glob(trace)) for trace in TRACES)]
    if not places:
        raise UserError(f"--runs {folder} holds no work folder of a training or test.")
    return read_runs(places)


def read_benchmarks(named: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows that ``tools/benchmark.py infer --json`` printed, each with its ``image_size``.

    Args:
        named: ``SIZE:FILE`` each, since the printed rows do not say at what size they were taken.

    Raises:
        UserError: When a size or a file is missing, or a file is no such list.
    """
    found = []
    for text in named:
        size, _, path = text.partition(":")
        if not (size.isdecimal() and path):
            raise UserError(f"--benchmark {text} is no SIZE:FILE: write 224:speeds.json.")
        try:
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"--benchmark {path} cannot be read: {error}.") from error
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and row.keys() >= MEASURED for row in rows
        ):
            raise UserError(
                f"--benchmark {path} is no list that tools/benchmark.py infer --json printed."
            )
        found += [dict(row, image_size=int(size)) for row in rows]
    return found


def throughput(row: Row, rows: Sequence[Mapping[str, Any]], configs: Path) -> Found:
    """Pictures a second of a row's classifier, out of a benchmark's rows; the last one counts."""
    if not rows:
        return None, "not measured: give --benchmark SIZE:FILE of tools/benchmark.py infer --json"
    name = f"timm:{row.peer}" if row.peer else _variant(row, configs)
    for one in reversed(rows):
        ours = one["name"].endswith(".py") and Path(one["name"]).stem == row.config
        if one["mode"] != "infer" or one["image_size"] != row.size[0]:
            continue
        if ours or one["name"] == name:
            said = f"batch {one['batch_size']}"
            return one["images_per_s"], f"tools/benchmark.py infer {one['name']}, {said}"
    return None, f"the benchmark has no {name or row.config} at {row.size[0]} pixels"


def _variant(row: Row, configs: Path) -> str | None:
    """tools/benchmark.py's name of our classifier; the isotropic ones go by their config."""
    config = row.config and find_config(row.config, configs)
    backbone = read_config(config).model.backbone if config else {}
    return f"cls:{backbone.arch}" if backbone.get("type") == "ConvNeXtClassifier" else None


def figure(row: Row, cell: Cell, runs: Sequence[Training], configs: Path) -> Found:
    """Our figure of a cell in the paper's unit, percent, and where it is from."""
    if cell.column in NEVER:
        return None, NEVER[cell.column]
    if cell.config is None:
        return None, "a peer's figure: this project has no recipe of its training"
    own = [run for run in runs if run.config_name == cell.config]
    if not own:
        return None, f"not trained: no run of {cell.config}" + ("" if runs else " (--runs DIR)")
    if all(has_other_data(run, cell.config, configs) for run in own):
        return None, f"{own[-1].name} has other data than {cell.config}"
    found = [
        one
        for run in own
        if not has_other_data(run, cell.config, configs)
        for one in _figures(row, cell, run, configs)
    ]
    if not found:
        return None, f"{own[-1].name} has no figure of it" + (
            ": test with --tta" if (row.table, cell.column) == (4, "miou") else ""
        )
    *_, value, source = max(found, key=lambda one: one[0])  # the newest
    return 100 * value, source


def _figures(row: Row, cell: Cell, run: Training, configs: Path):
    """(order, value, source) of each file of a run that has the cell's figure."""
    state = progress(run)
    state = "" if state.startswith(("finished", "test only")) else f"; {state}"
    if cell.column in SUITES:
        suite, key = SUITES[cell.column]
        for i, content in enumerate(run.suites):
            if content["suite"] == suite and isinstance(content.get(key), int | float):
                made = "; corrupted on the fly" if content.get("made_on_the_fly") else ""
                yield (1, i), content[key], f"{run.name}: tools/eval_cls.py {suite}{made}{state}"
        return
    name = _metric(cell, configs)
    several = (row.table, cell.column) == (4, "miou")
    stored: list[tuple[str, Stored]] = [("test", test) for test in run.tests]
    for kind, one in [*stored, ("validation", run)]:
        value = one.metrics.get(name)
        if isinstance(value, int | float) and bool(one.metrics.get("tta")) == several:
            limited = getattr(one, "limit", None)
            kind += f" of {limited:,} pictures" if limited else ""
            kind += " at several scales" if several else ""
            order = (kind != "validation", one.folder.stat().st_mtime)
            yield order, value, f"{run.name}: {kind}, {name}{state}"


def _metric(cell: Cell, configs: Path) -> str:
    if cell.column not in TOP1:
        return METRICS[cell.column]
    config = find_config(cell.config, configs)
    stated = paper_figures(config) if config else None
    return next(iter(stated.figures), "top1") if stated else "top1"


def has_other_data(run: Training, config: str, configs: Path) -> bool:
    """Whether a run of the config was given own data, or other pictures than the recipe's."""
    path = find_config(config, configs) or next(configs.rglob(f"{config}.py"), None)
    if path is None:
        return False
    recipe = read_config(path)
    for split in ("test_dataloader", "val_dataloader"):
        ours = (run.config.get(split) or {}).get("dataset") or {}
        theirs = recipe.get(split, {}).get("dataset", {})
        keys = [key for key in ("type", "ann_file") if key in theirs and key in ours]
        if any(ours[key] != theirs[key] for key in keys):
            return True
        if ours and not _ends_with(ours.get("data_root"), theirs.get("data_root")):
            return True
    return False


def _ends_with(path: str | None, end: str | None) -> bool:
    """Whether a folder is the recipe's, wherever the data root lies."""
    parts = Path(end or "").parts
    return Path(path or "").parts[-len(parts) :] == parts if parts else True
