"""Fits a recipe's schedule to own data: how long, how fast, how often it is evaluated.

The rule, and docs/custom_dataset.md states it for users:

- The learning rate follows the images of a step (linear rule); :class:`DenseRunner` scales it.
- Every image is seen as often as in the recipe, but the run has at least the weight of
  ``MIN_STEPS`` steps of the recipe's batch (of the whole recipe, where that is shorter); a recipe
  that counts iterations is never made longer.
- The warmup keeps its iterations, at most a tenth of the run; one of less than two is left out,
  since the first of its iterations has the lowest rate. All else keeps its proportion.
- What ``--epochs`` or ``--cfg-options`` say is not touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from convnext_dense.data.text_files import opening_annotation_files
from convnext_dense.errors import UserError
from convnext_dense.optim.schedulers import WARMUPS, is_single_step
from convnext_dense.optim.stepping import Plan

MIN_STEPS = 2000
WARMUP_SHARE = 10  # at most one in so many iterations
SCALABLE = (*WARMUPS, "MultiStepLR", "StepLR", "CosineAnnealingLR", "PolyLR", "PolyRatioLR")
# What this module writes: options for these sections are merged once more, and win.
SECTIONS = ("train_cfg", "param_scheduler", "default_hooks")
LEARNING_RATE = "optim_wrapper.optimizer.lr"


@dataclass(frozen=True)
class Batch:
    """The images of a step: per process x processes x accumulated batches."""

    per_process: int
    processes: int
    accumulated: int

    @property
    def iteration(self) -> int:
        """Images of one iteration of all processes."""
        return self.per_process * self.processes

    @property
    def step(self) -> int:
        """Images of one step of the optimizer."""
        return self.iteration * self.accumulated


@dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes:
        total: Epochs or iterations, whatever the config counts.
        iterations: The same in iterations; None where a recipe's epochs have no known length.
        warmup: Iterations of the warmup.
        by_epoch: Whether the config counts epochs.
    """

    total: int
    iterations: int | None
    warmup: int
    by_epoch: bool


@dataclass(frozen=True)
class TrainingSize:
    """The size of a training, to which the rule is applied.

    Attributes:
        images: Training images of the run.
        recipe_images: Those that the recipe was made for; None where its config names none.
        batch: The run's images of a step.
        base: The recipe's images of a step.
        per_epoch: Iterations of one pass over the run's images.
    """

    images: int
    recipe_images: int | None
    batch: Batch
    base: int
    per_epoch: int


@dataclass(frozen=True)
class Fit:
    """A recipe's length beside the run's, and why (``fit_report`` prints it)."""

    size: TrainingSize
    recipe: Length
    run: Length
    reason: str


def fit_schedule(
    cfg: Config,
    recipe: Config,
    options: Mapping[str, Any],
    epochs: int | None,
    processes: int,
    batches_a_step: float = 1,
) -> Fit:
    """Fits length, warmup, milestones and intervals of a run to its training images.

    Args:
        cfg: A resolved config with own data, ``options`` applied; changed in place.
        recipe: The config as its file states it.
        options: ``--cfg-options``: what they say about the schedule stays.
        epochs: ``--epochs``: passes over the training images instead of the rule's.
        processes: Number of training processes.
        batches_a_step: Of ``--fit-memory``, for each batch of the recipe's steps: the warmup keeps
            its steps.

    Raises:
        UserError: For a set without a batch, or a recipe that cannot be scaled.
    """
    if "fitted_to" in recipe:
        raise UserError(
            f"{recipe.filename} is the config of a run on own data, fitted to it already: leave "
            "out the data flags, or give the recipe's config."
        )
    if epochs is not None and epochs < 1:
        raise UserError(f"--epochs must be at least 1, got {epochs}.")
    size = measure_training(cfg, recipe, processes)
    before = recipe_length(recipe, size.base)
    total, reason = choose_total(size, before, options, epochs)
    iterations = total * size.per_epoch if before.by_epoch else total
    warmup = min(round(before.warmup * batches_a_step), iterations // WARMUP_SHARE)
    warmup = warmup if warmup > 1 else 0
    run = Length(total, iterations, warmup, before.by_epoch)
    cfg.train_cfg["max_epochs" if run.by_epoch else "max_iters"] = total
    cfg.param_scheduler = [scale_scheduler(entry, before, run) for entry in _schedulers(recipe)]
    _scale_intervals(cfg, recipe, before, run)
    cfg.merge_from_dict({k: v for k, v in options.items() if k.split(".")[0] in SECTIONS})
    # Not before: options count the recipe's entries.
    cfg.param_scheduler = [e for e in cfg.param_scheduler if not is_single_step(e)]
    cfg.fitted_to = dict(
        pictures=size.images, pictures_a_step=size.batch.step, iterations=iterations
    )
    return Fit(size, before, run, reason)


def measure_training(cfg: Config, recipe: Config, processes: int) -> TrainingSize:
    """Counts the images of the data, of a step and of a pass."""
    batch = batch_of(cfg, processes)
    images = count_training_images(cfg)
    per_epoch = iterations_per_epoch(cfg, images, batch)
    if not per_epoch:
        raise UserError(
            f"The {images} training images make no batch of {batch.per_process}: "
            "lower train_dataloader.batch_size."
        )
    base = recipe.get("auto_scale_lr", {}).get("base_batch_size", batch.step)
    return TrainingSize(images, recipe.get("recipe_pictures"), batch, base, per_epoch)


def batch_of(cfg: Config, processes: int) -> Batch:
    """The images of a step of a config's run."""
    accumulated = cfg.optim_wrapper.get("accumulative_counts", 1)
    return Batch(cfg.train_dataloader.batch_size, processes, accumulated)


def iterations_per_epoch(cfg: Config, images: int, batch: Batch) -> int:
    """Iterations of one pass over the training images, some of which a sampler may repeat."""
    loader = cfg.train_dataloader
    drawn = (loader.get("sampler") or {}).get("epoch_images") or images
    share = ceil(drawn / batch.processes)
    # A batch sampler of its own keeps the last batch.
    drops_last = loader.get("drop_last", False) and "batch_sampler" not in loader
    return share // batch.per_process if drops_last else ceil(share / batch.per_process)


def plan_of(train_cfg: Mapping[str, Any], per_epoch: int) -> Plan:
    """How a training of this project's loops counts (``engine/loops.py``)."""
    epochs, iterations = train_cfg.get("max_epochs"), train_cfg.get("max_iters")
    if epochs is None:
        return Plan(per_epoch, ceil(iterations / per_epoch), iterations, by_epoch=False)
    total = epochs * per_epoch
    return Plan(per_epoch, epochs, total if iterations is None else min(total, iterations))


def rate_of(cfg: Config, batch: Batch) -> float:
    """The learning rate that the schedules of a config's run change."""
    written, scaling = cfg.optim_wrapper.optimizer.lr, cfg.get("auto_scale_lr") or {}
    return written * batch.step / scaling["base_batch_size"] if scaling.get("enable") else written


def count_training_images(cfg: Config) -> int:
    """The images that training uses (mmdet leaves out those without an instance)."""
    with (
        DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry,
        opening_annotation_files(),
    ):
        return len(registry.build({**cfg.train_dataloader.dataset, "pipeline": []}))


def recipe_length(recipe: Config, base: int) -> Length:
    """The length of a recipe at its own batch of ``base`` images."""
    by_epoch = "max_epochs" in recipe.train_cfg
    total = recipe.train_cfg["max_epochs" if by_epoch else "max_iters"]
    iterations = None if by_epoch else total
    if by_epoch and "recipe_pictures" in recipe:
        iterations = total * ceil(recipe.recipe_pictures / base)
    warmups = [
        entry["end"]
        for entry in _schedulers(recipe)
        if entry["type"] in WARMUPS
        and not entry.get("by_epoch", True)
        and entry.get("begin", 0) == 0
        and (by_epoch or entry["end"] < total)
    ]
    return Length(total, iterations, max(warmups, default=0), by_epoch)


def _schedulers(recipe: Config) -> list[ConfigDict]:
    found = recipe.get("param_scheduler") or []
    found = found if isinstance(found, list) else [found]
    for entry in found:
        if entry["type"] not in SCALABLE:
            raise UserError(
                f"The schedule {entry['type']} cannot be fitted to own data ({', '.join(SCALABLE)} "
                "can): give it as it should be in a config of your own, without the data flags."
            )
    return found


def choose_total(
    size: TrainingSize, recipe: Length, options: Mapping[str, Any], epochs: int | None
) -> tuple[int, str]:
    """The run's epochs or iterations (see the rule above), and why."""
    key = "train_cfg.max_epochs" if recipe.by_epoch else "train_cfg.max_iters"
    if key in options:
        return options[key], f"--cfg-options {key}"
    if epochs is not None:
        return epochs if recipe.by_epoch else epochs * size.per_epoch, "--epochs"
    steps = min(MIN_STEPS, recipe.iterations or MIN_STEPS)
    if recipe.by_epoch:
        total, why = recipe.total, "as the recipe"
        floor = ceil(steps * size.base / size.images)
    else:
        share = min(1, size.images / (size.recipe_images or size.images))
        total = ceil(recipe.total * share * size.base / size.batch.iteration)
        why = "in proportion to the images" if share < 1 else "as the recipe"
        floor = ceil(steps * size.base / size.batch.iteration)
    if total >= floor:
        return total, why
    return floor, f"at least {steps:,} steps of {size.base} images"


def scale_scheduler(entry: Mapping, recipe: Length, run: Length) -> dict:
    """One schedule of the recipe, moved to the run's length and counted in iterations."""
    by_epoch = entry.get("by_epoch", True)
    moved = {key: value for key, value in entry.items() if key != "convert_to_iter_based"}
    moved["by_epoch"] = False
    for key in ("begin", "end", "milestones", "T_max", "step_size"):
        if isinstance(moved.get(key), list | tuple):
            moved[key] = [_move(point, by_epoch, recipe, run) for point in moved[key]]
        elif moved.get(key) is not None:
            moved[key] = _move(moved[key], by_epoch, recipe, run)
    return moved


def _move(point: int, by_epoch: bool, recipe: Length, run: Length) -> int:
    """A point of the recipe's time (epochs or iterations) as an iteration of the run.

    The warmup is mapped on the warmup and the rest on the rest.
    """
    if by_epoch:
        return round(point / recipe.total * run.iterations)
    if point <= recipe.warmup or recipe.by_epoch:
        return round(point * run.warmup / recipe.warmup) if point else 0
    share = (point - recipe.warmup) / (recipe.total - recipe.warmup)
    return round(run.warmup + share * (run.iterations - run.warmup))


def _scale_intervals(cfg: Config, recipe: Config, before: Length, run: Length) -> None:
    """As many evaluations and checkpoints as in the recipe, and some twenty lines of log."""
    ratio = run.total / before.total
    if "val_interval" in recipe.train_cfg:
        cfg.train_cfg.val_interval = max(1, round(recipe.train_cfg.val_interval * ratio))
    checkpoint = recipe.default_hooks.checkpoint
    if checkpoint.get("by_epoch", True) == run.by_epoch:
        cfg.default_hooks.checkpoint.interval = max(1, round(checkpoint.interval * ratio))
    logger = cfg.default_hooks.logger
    logger.interval = max(1, min(logger.interval, run.iterations // 20))
