"""The first lines of a run on the console: what runs, on what data, from which weights, where."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from rich.text import Text

from convnext_dense.config.config_tree import datasets
from convnext_dense.data.fit_schedule import batch_of, iterations_per_epoch, plan_of
from convnext_dense.data.image_scan import OpenedImage
from convnext_dense.data.schedule_table import largest_rate
from convnext_dense.engine.fused_kernels import precision
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.finetune.settle import describe_finetuning
from convnext_dense.preflight.shared_images import remark_shared
from convnext_dense.runs.console import format_rows
from convnext_dense.runs.work_folder import device
from convnext_dense.tasks import task_of

KINDS = {"train": "training", "val": "validation", "test": "test"}
UNITS = {"max_epochs": "epochs", "max_iters": "iterations"}


def start_page(
    runner: DenseRunner,
    splits: tuple[str, ...],
    weights: str,
    opened: Mapping[str, Sequence[OpenedImage]] | None = None,
) -> Text:
    """The page: a line each for data, weights, device and length, below the config's name.

    Args:
        runner: The built runner; its loaders are built here, in the order of the splits.
        splits: Which data the run reads: ``train``, ``val``, ``test``.
        weights: The origin of the weights, in a line.
        opened: The images that were opened before the run, by split.
    """
    cfg = runner.cfg
    number_type = str(precision(cfg)).removeprefix("torch.")
    rows = [
        ("data", _data(runner, splits)),
        ("weights", weights),
        ("device", f"{device()}, {number_type}"),
        *([*finetuning_rows(cfg), *_training_rows(runner)] if "train" in splits else []),
        ("work folder", str(cfg.work_dir)),
        *remark_rows(cfg, splits, opened or {}),
    ]
    title = f"{Path(cfg.filename or 'config').stem} ({task_of(cfg).name})"
    return format_rows(title, rows)


def finetuning_rows(cfg: Config) -> list[tuple[str, str]]:
    """What is frozen, adapted, and ends the run before its length; no row where nothing is."""
    phrases = describe_finetuning(cfg)
    return [("fine-tuning", "; ".join(phrases))] if phrases else []


def remark_rows(
    cfg: Config, splits: tuple[str, ...], opened: Mapping[str, Sequence[OpenedImage]]
) -> list[tuple[str, str]]:
    """What is odd in the data of some splits, a row each, equal ones once."""
    task = task_of(cfg)
    remarks = [line for split in splits for line in task.remarks(cfg, split, opened.get(split, ()))]
    if {"train", "val"} <= {*splits}:
        remarks += remark_shared(cfg)
    return [("note" if n == 0 else "", line) for n, line in enumerate(dict.fromkeys(remarks))]


def _data(runner: DenseRunner, splits: tuple[str, ...]) -> str:
    """The images of each split, the classes, and the folders they are in."""
    built = {split: loader.dataset for split in splits if (loader := _loader(runner, split))}
    counts = [f"{len(data):,} {KINDS[split]}" for split, data in built.items()]
    roots = {str(one.data_root): None for split in built for one in datasets(runner.cfg, split)}
    names = [getattr(data, "metainfo", {}).get("classes") for data in built.values()]
    classes = f", {len(names[0])} classes" if names and names[0] else ""
    return f"{' and '.join(counts)} images{classes}: {', '.join(roots)}"


def _loader(runner: DenseRunner, split: str):
    if getattr(runner, f"_{split}_loop") is None:
        return None
    return getattr(runner, f"{split}_loop").dataloader


def _training_rows(runner: DenseRunner) -> list[tuple[str, str]]:
    cfg = runner.cfg
    # A resumed run's rates come with the table of its checkpoint's settings and its own.
    if runner._resume or "lr" not in (cfg.optim_wrapper.get("optimizer") or {}):
        return [("length", _length(cfg))]
    batch = batch_of(cfg, runner.world_size)
    per_epoch = iterations_per_epoch(cfg, len(runner.train_dataloader.dataset), batch)
    largest = " ".join(largest_rate(cfg, plan_of(cfg.train_cfg, per_epoch), batch))
    return [("length", _length(cfg)), ("largest rate", largest)]


def _length(cfg: Config) -> str:
    plan = cfg.train_cfg
    lengths = [f"{plan[key]:,} {unit}" for key, unit in UNITS.items() if plan.get(key)]
    return ", at most ".join(lengths)
