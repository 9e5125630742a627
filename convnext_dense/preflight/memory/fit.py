"""``--fit-memory`` as entries of a config: decided once, in every process, and kept by a resume.

The images of a step stay the recipe's: batch x accumulation x processes is constant, and so the
learning rate needs no change. What a recipe counts in iterations is multiplied by the batches of a
step, so that the run has the recipe's steps.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.config.config_tree import walk
from convnext_dense.config.plain import read_plain
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.fit_schedule import Batch, batch_of, iterations_per_epoch
from convnext_dense.engine.accumulation import accumulate
from convnext_dense.errors import UserError
from convnext_dense.models.trunk import Trunk
from convnext_dense.preflight.memory.choice import (
    CHECKPOINTING,
    GIB,
    Choice,
    Split,
    choose,
    kind_name,
    possible_splits,
    table,
)
from convnext_dense.preflight.memory.image_size import largest_images
from convnext_dense.preflight.memory.prediction import (
    MARGIN,
    batch_norms,
    least_batch,
    predict_memory,
)
from convnext_dense.preflight.step_probe import resident_bytes
from convnext_dense.runs import AUTO
from convnext_dense.runs.processes import connect

RECORD = "fitted_to_memory"  # in a config
BATCH = "train_dataloader.batch_size"
ACCUMULATION = "optim_wrapper.accumulative_counts"
CHECKPOINTED = "model.backbone.with_cp"
# What may count iterations, of the loop and of hooks.
COUNTED = ("begin", "end", "T_max", "step_size", "milestones")


def fit_memory(
    settled: SettledConfig,
    limit: float | str,
    options: Mapping[str, Any],
    *,
    processes: int,
    own_data: bool,
    shape_buckets: int | None = None,
) -> str:
    """Chooses batch, accumulation and checkpointing for the memory, and puts them into a config.

    Args:
        settled: A config that was fitted to its data; heads and frozen parts are settled.
        limit: GiB of each process, or ``AUTO``: what the GPU has free.
        options: ``--cfg-options``, ``--accumulate`` among them: what they name is not chosen.
        processes: Number of training processes.
        own_data: Whether the schedule is fitted to own data afterwards.
        shape_buckets: ``--shape-buckets``.

    Returns:
        The table for the console; it is the same in all processes.

    Raises:
        UserError: Where nothing fits, or where it cannot be told.
    """
    cfg = settled.cfg
    if processes > 1:
        connect(cfg)
    usable, source = usable_bytes(limit)
    usable = min(all_gather_object(usable))
    size = largest_images(cfg, shape_buckets)
    decided: list[Any] = [None]
    if get_rank() == 0:
        decided = [_decided(settled, size, options, processes, own_data, usable)]
    broadcast_object_list(decided)
    choice = decided[0]
    if isinstance(choice, str):
        raise UserError(choice)
    chosen = choice.chosen
    record = dict(
        limit_gib=round(usable / GIB, 3),
        predicted_gib=round(chosen.predicted / GIB, 3),
        image=list(size),
        processes=processes,
        batch=chosen.split.batch,
        accumulation=chosen.split.accumulated,
        checkpointing=kind_name(chosen.checkpointing),
    )
    recipe_sees = images_of_step(settled, options, processes)
    apply_setting(settled, record, "--fit-memory", options, own_data)
    step = f"{recipe_sees} images a step in {processes} process{'es' if processes > 1 else ''}"
    head = f"--fit-memory: {usable / GIB:.2f} GiB {source}; {step}, of {size[0]} x {size[1]} pixels"
    return "\n".join([head, *table(choice), *_remarks(cfg, processes, recipe_sees)])


def _decided(
    settled: SettledConfig,
    size: tuple[int, int],
    options: Mapping[str, Any],
    processes: int,
    own_data: bool,
    usable: float,
) -> Choice | str:
    """The choice, or the sentence of a refusal: all processes are to raise it."""
    cfg = settled.cfg

    def predictor(kind: bool | str):
        prediction = predict_memory(cfg, size, kind, processes=processes)
        return lambda split: prediction.bytes(split.batch, split.accumulated)

    try:
        splits = allowed_splits(settled, options, processes, own_data)
        return choose(splits, checkpointing_kinds(cfg, options), predictor, usable)
    except UserError as error:
        return str(error)


def usable_bytes(limit: float | str) -> tuple[float, str]:
    """Bytes for the training of this process, and what they are.

    Raises:
        UserError: On a CPU without a number.
    """
    on_gpu = torch.cuda.is_available()
    if limit == AUTO:
        if not on_gpu:
            raise UserError(
                "--fit-memory needs a number on a CPU: the GiB that the training process may have, "
                "as in --fit-memory 8."
            )
        return torch.cuda.mem_get_info()[0], "are free on the GPU"
    if on_gpu:
        free = torch.cuda.mem_get_info()[0] / GIB
        return limit * GIB, f"as given ({free:.2f} GiB are free on the GPU)"
    taken = resident_bytes() or 0
    return limit * GIB - taken, f"are left of {limit:g} (the program itself has the rest)"


def images_of_step(settled: SettledConfig, options: Mapping[str, Any], processes: int) -> int:
    """Images of a step of the optimizer that are to be kept.

    The recipe's; where both batch and accumulation are given, theirs.
    """
    cfg = settled.cfg
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    scaled = (cfg.get("auto_scale_lr") or {}).get("enable")
    if base is None or scaled or (BATCH in options and ACCUMULATION in options):
        return batch_of(cfg, processes).step
    return base


def allowed_splits(
    settled: SettledConfig, options: Mapping[str, Any], processes: int, own_data: bool
) -> list[Split]:
    """The ways to divide a step that the flags, the model and the data allow.

    Raises:
        UserError: Where there is none.
    """
    cfg = settled.cfg
    images = images_of_step(settled, options, processes)
    mixing = cfg.model.get("data_preprocessor") or {}
    even = bool(mixing.get("mixup") or mixing.get("cutmix"))
    drops = own_data and cfg.train_dataloader.get("drop_last", False)
    total = len(build_dataset(cfg, cfg.train_dataloader.dataset)) if drops else None

    def allowed(split: Split) -> bool:
        return (
            split.batch >= least_batch(cfg)
            and options.get(BATCH) in (None, split.batch)
            and options.get(ACCUMULATION) in (None, split.accumulated)
            and not (even and split.batch % 2)
            and (total is None or iterations_per_epoch(cfg, total, _as_batch(split, processes)) > 0)
        )

    splits = possible_splits(images // processes, allowed) if images % processes == 0 else []
    if not splits:
        raise UserError(
            f"--fit-memory keeps the recipe's {images} images a step, and they cannot be divided "
            f"among {processes} process{'es' if processes > 1 else ''} in equal batches as the "
            "flags, the model and the data want them: take another number of processes, or leave "
            "batch size and --accumulate to --fit-memory."
        )
    return splits


def _as_batch(split: Split, processes: int) -> Batch:
    return Batch(split.batch, processes, split.accumulated)


def checkpointing_kinds(cfg: Config, options: Mapping[str, Any]) -> tuple[bool | str | None, ...]:
    """The kinds of checkpointing that the backbone knows; one where an option names it."""
    backbone = cfg.model.get("backbone") or {}
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        kind = MODELS.get(str(backbone.get("type")))
    is_ours = isinstance(kind, type) and issubclass(kind, Trunk)
    if CHECKPOINTED in options or not is_ours:
        return (backbone.get("with_cp"),) if "with_cp" in backbone else (None,)
    return CHECKPOINTING


def apply_setting(
    settled: SettledConfig,
    record: Mapping[str, Any],
    reason: str,
    options: Mapping[str, Any],
    own_data: bool,
) -> None:
    """Puts a decision into a config, under a reason.

    Args:
        settled: The config.
        record: The decision as a run keeps it (``RECORD``).
        reason: Of the changes.
        options: ``--cfg-options``: what they name stays.
        own_data: Whether the schedule is fitted to own data afterwards.
    """
    written = settled.recipe.get("optim_wrapper", {}).get("accumulative_counts", 1)
    with settled.changing(f"{reason}, {record['limit_gib']:g} GiB") as cfg:
        cfg.train_dataloader.batch_size = record["batch"]
        accumulate(cfg, record["accumulation"])
        kind = record["checkpointing"]
        known = kind in (*CHECKPOINTING, "off")
        if known and (kind != "off" or "with_cp" in cfg.model.backbone):
            cfg.model.backbone.with_cp = False if kind == "off" else kind
        if not own_data:
            scale_iterations(cfg, record["accumulation"] / written, options)
        cfg[RECORD] = dict(record)


def scale_iterations(cfg: Config, factor: float, options: Mapping[str, Any]) -> None:
    """Multiplies what a config counts in iterations; epochs stay.

    Args:
        cfg: Changed in place.
        factor: Iterations of a step beside those of the recipe.
        options: Dotted keys that were given: they stay.
    """

    def scale(node: Any, key: str, place: str) -> None:
        if node.get(key) is None or f"{place}.{key}" in options:
            return
        value = node[key]
        values = value if isinstance(value, list | tuple) else [value]
        scaled = [round(one * factor) if 0 < one < math.inf else one for one in values]
        node[key] = scaled if isinstance(value, list | tuple) else scaled[0]

    if cfg.train_cfg.get("max_epochs") is None:
        for key in ("max_iters", "val_interval"):
            scale(cfg.train_cfg, key, "train_cfg")
    schedulers = cfg.get("param_scheduler") or []
    for index, entry in enumerate(schedulers if isinstance(schedulers, list) else [schedulers]):
        if not entry.get("by_epoch", True):
            for key in COUNTED:
                scale(entry, key, f"param_scheduler.{index}")
    checkpoint = (cfg.get("default_hooks") or {}).get("checkpoint")
    if checkpoint and not checkpoint.get("by_epoch", True):
        scale(checkpoint, "interval", "default_hooks.checkpoint")


def kept_setting(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """The decision of the run that a checkpoint is of; None where it made none."""
    text = str((checkpoint.get("meta") or {}).get("cfg") or "")
    if RECORD not in text:
        return None
    try:
        return read_plain(text, (RECORD,)).get(RECORD)
    except (SyntaxError, ValueError):
        return None


def keep_setting(
    settled: SettledConfig,
    record: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    processes: int,
    own_data: bool,
) -> str:
    """Gives a resumed run the decision of the run that it continues; returns a line about it.

    Raises:
        UserError: For another number of processes.
    """
    if record["processes"] != processes:
        raise UserError(
            f"The run was fitted to memory for {record['processes']} processes, and there are "
            f"{processes} now: resume with as many, or start a new run from its weights with "
            "--load-from and --fit-memory."
        )
    apply_setting(settled, record, "--fit-memory of the run that is resumed", options, own_data)
    return (
        f"--fit-memory, as the run that is resumed: batches of {record['batch']}, "
        f"{record['accumulation']} a step, checkpointing {record['checkpointing']}, predicted "
        f"{record['predicted_gib']:.2f} GiB."
    )


def _remarks(cfg: Config, processes: int, step: int) -> list[str]:
    """What else is to be known of the setting, a line each."""
    lines = [f"  A setting fits where it has {MARGIN - 1:.0%} more than it is predicted to need."]
    if batch_norms(cfg):
        synced = any(node.get("type") == "SyncBN" for node in walk(cfg.model))
        seen = cfg.train_dataloader.batch_size * (processes if synced else 1)
        if seen != step:
            lines.append(
                f"  Batch norms see the {seen} images of a batch, not the {step} of a step."
            )
    return lines
