"""Summary of a run: progress, configuration, speed and final figures."""

import re
import shlex
from pathlib import Path
from statistics import median
from typing import Any

from convnext_dense.config.shipped import command_of_test
from convnext_dense.runs.saved_runs import RESULTS, Test, Training
from convnext_dense.tasks import HEADLINE, OF_AVERAGE

HIDDEN_ENV = ("command", "started", "device", "git_revision", "processes")  # shown elsewhere
Rows = list[tuple[str, str]]


def progress(run: Training) -> str:
    """The progress of a run in a sentence."""
    if not run.steps and not run.metrics:
        if run.tests and not run.lr_groups:
            return "test only"
        return "no iteration was logged: the run has no log line yet, or ended before its first one"
    plan = run.config.get("train_cfg") or {}
    for unit, limit, unit_name in (
        ("iter", "max_iters", "iterations"),
        ("epoch", "max_epochs", "epochs"),
    ):
        if planned := plan.get(limit):
            done = _reached(run, unit)
            if done >= planned:
                return f"finished: {done:,} {unit_name}"
            return (
                f"not finished: {done:,} of {planned:,} {unit_name} (still running, or ended early)"
            )
    return f"{_reached(run, 'iter'):,} iterations; the config does not say how many were planned"


def _reached(run: Training, unit: str) -> int:
    """The last iteration, or the last complete epoch, in the files of the folder."""
    reached = [run.metrics.get(unit, 0)]
    pointer = run.folder / "last_checkpoint"
    if pointer.is_file() and (name := re.search(rf"{unit}_(\d+)", pointer.name + _text(pointer))):
        reached.append(int(name[1]))
    if run.steps:
        # The epoch in a line of the log is not complete.
        reached.append(run.steps[-1].get(unit, 0) - (unit == "epoch"))
    return int(max(reached))


def _text(path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def configuration(run: Training) -> Rows:
    """The main settings of a training; missing entries are left out."""
    config, env = run.config, run.env
    loader, optim = config.get("train_dataloader") or {}, config.get("optim_wrapper") or {}
    optimizer, paramwise = optim.get("optimizer") or {}, optim.get("paramwise_cfg") or {}
    backbone = (config.get("model") or {}).get("backbone") or {}
    plan = config.get("train_cfg") or {}
    lengths = [f"{plan[key]:,} {key[4:]}" for key in ("max_epochs", "max_iters") if plan.get(key)]
    clip = (optim.get("clip_grad") or {}).get("max_norm")
    weights = (backbone.get("init_cfg") or {}).get("checkpoint")
    table = {
        "folder": run.folder,
        "started": env.get("started"),
        "command": env.get("command") and shlex.join(map(str, env["command"])),
        "device": env.get("device"),
        "revision": env.get("git_revision"),
        "data": config.get("data_root"),
        "model": " ".join(str(backbone[key]) for key in ("type", "arch") if backbone.get(key)),
        "backbone weights": weights,
        "started from": config.get("load_from"),
        "length": " / ".join(lengths),
        "images a batch": loader.get("batch_size"),
        "processes": env.get("processes"),
        "accumulated batches": optim.get("accumulative_counts"),
        "optimizer": optimizer.get("type"),
        "learning rate": optimizer.get("lr"),
        "weight decay": optimizer.get("weight_decay"),
        "layer decay": paramwise.get("decay_rate"),
        "drop path": backbone.get("drop_path_rate"),
        "gradients clipped at": clip,
        "precision": _precision(optim),
        "seed": (config.get("randomness") or {}).get("seed"),
    }
    return [(name, str(value)) for name, value in table.items() if value not in (None, "")]


def _precision(optim: dict[str, Any]) -> str | None:
    if not optim:
        return None
    return str(optim.get("dtype", "float16")) if "Amp" in str(optim.get("type")) else "float32"


def environment(run: Training) -> Rows:
    """Versions and machine, from ``env.json``."""
    return [
        (name, "-" if value is None else str(value))
        for name, value in run.env.items()
        if name not in HIDDEN_ENV
    ]


def throughput(run: Training) -> dict[str, float]:
    """Medians over the log: ``time`` and ``data_time`` of an iteration in s, ``images_per_s``
    of all processes (of one where ``env.json`` does not say how many), ``memory`` (largest) in MB.

    The first line of the log is left out if there are others, since it includes the start.
    """
    rows = run.steps[1:] or run.steps
    speed = {}
    for key, reduce in (("time", median), ("data_time", median), ("memory", max)):
        values = [row[key] for row in rows if key in row]
        if values:
            speed[key] = float(reduce(values))
    batch = (run.config.get("train_dataloader") or {}).get("batch_size")
    if batch and speed.get("time"):
        speed["images_per_s"] = batch * run.env.get("processes", 1) / speed["time"]
    return speed


def headline(figures: dict[str, Any]) -> dict[str, float]:
    """The main figures of a ``metrics.json``."""
    return {name: figures[name] for name in HEADLINE if figures.get(name) is not None}


def of_weights(metrics: dict[str, Any], ema: bool) -> dict[str, Any]:
    """What a training's ``metrics.json`` says about its plain or its averaged weights.

    The averaged weights' figures lose ``_ema``. Figures of each class and best thresholds are the
    plain weights'. Empty where these weights were not evaluated.
    """
    if not ema:
        return {name: value for name, value in metrics.items() if not name.endswith(OF_AVERAGE)}
    found = {
        name.removesuffix(OF_AVERAGE): value
        for name, value in metrics.items()
        if name.endswith(OF_AVERAGE)
    }
    where = {key: metrics[key] for key in ("epoch", "iter") if key in metrics}
    return {**found, **where} if found else {}


def figure_of_kind(metrics: dict[str, Any], name: str, multi_scale: bool) -> float | None:
    """A figure that stands beside a published one: of the same views, and of the same weights.

    A test of the averaged weights (``ema``) has their figures without ``_ema``.
    """
    if bool(metrics.get("tta")) != multi_scale:
        return None
    if not metrics.get("ema"):
        return metrics.get(name)
    return metrics.get(name.removesuffix(OF_AVERAGE)) if name.endswith(OF_AVERAGE) else None


def kind_of_test(test: Test) -> str:
    """A test in words: its weights, views and images, where they are not the usual ones."""
    return (
        "test"
        + (" of the averaged weights" if test.metrics.get("ema") else "")
        + (" in several views" if test.metrics.get("tta") else "")
        + (f" of {test.limit:,} images" if test.limit else "")
    )


def final_figures(run: Training) -> tuple[dict[str, float], str]:
    """The final figures of a run and their source: the latest test, or else the training."""
    if run.tests:
        test = max(run.tests, key=lambda test: test.folder.stat().st_mtime)
        return headline(test.metrics), kind_of_test(test)
    if run.metrics:
        return headline(run.metrics), "validation"
    return {}, "-"


def test_command(run: Training) -> str:
    """The command that tests a run and writes the results for the page."""
    words = test_words(run.folder, run.folder / f"{run.config_name}.py")
    return shlex.join(map(str, [*command_of_test(), *words]))


def test_words(folder: Path, config: Path) -> list[Path | str]:
    """Arguments of a test of a run whose figures and results the report finds."""
    out = folder / "test"
    return [config, folder, "--work-dir", out, "--out", out / RESULTS]
