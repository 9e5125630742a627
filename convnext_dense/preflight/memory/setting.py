"""What was decided of a run's memory, as entries of its config: put in, and kept by a resume."""

import math
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from convnext_dense.config.plain import read_plain
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.engine.accumulation import accumulate
from convnext_dense.errors import UserError
from convnext_dense.preflight.memory.choice import CHECKPOINTING

RECORD = "fitted_to_memory"  # in a config
# What is chosen, as --cfg-options names it.
BATCH = "train_dataloader.batch_size"
ACCUMULATION = "optim_wrapper.accumulative_counts"
CHECKPOINTED = "model.backbone.with_cp"
# What may count iterations, of the loop and of hooks.
COUNTED = ("begin", "end", "T_max", "step_size", "milestones")


def apply_setting(
    settled: SettledConfig,
    record: Mapping[str, Any],
    reason: str,
    options: Mapping[str, Any],
    refitted: bool,
) -> None:
    """Puts a decision into a config, under a reason.

    Args:
        settled: The config.
        record: The decision as a run keeps it (``RECORD``).
        reason: Of the changes.
        options: ``--cfg-options``: what they name stays.
        refitted: Whether the schedule is fitted to own data afterwards.
    """
    with settled.changing(f"{reason}, {record['limit_gib']:g} GiB") as cfg:
        cfg.train_dataloader.batch_size = record["batch"]
        accumulate(cfg, record["accumulation"])
        kind = record["checkpointing"]
        chosen = kind in (*CHECKPOINTING, "off") and CHECKPOINTED not in options
        if chosen and (kind != "off" or "with_cp" in cfg.model.backbone):
            cfg.model.backbone.with_cp = False if kind == "off" else kind
        cfg[RECORD] = dict(record)
        if not refitted:
            scale_iterations(cfg, batches_a_step(settled), options)


def batches_a_step(settled: SettledConfig) -> float:
    """Batches of a step for each one of the recipe, where ``--fit-memory`` has decided; else 1."""
    if RECORD not in settled.cfg:
        return 1
    written = settled.recipe.get("optim_wrapper", {}).get("accumulative_counts", 1)
    return settled.cfg[RECORD]["accumulation"] / written


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
    """The decision of the run that a checkpoint is of; None where it made none.

    Raises:
        UserError: Where it made one that cannot be read.
    """
    text = str((checkpoint.get("meta") or {}).get("cfg") or "")
    if RECORD not in text:
        return None
    try:
        return read_plain(text, (RECORD,)).get(RECORD)
    except (SyntaxError, ValueError) as error:
        raise UserError(
            "The config in the checkpoint cannot be read, so the run's decision of --fit-memory is "
            "lost: start a new run from its weights with --load-from."
        ) from error


def keep_setting(
    settled: SettledConfig,
    record: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    processes: int,
    refitted: bool,
) -> str:
    """Gives a resumed run the decision of the run that it continues; returns a line about it.

    Raises:
        UserError: For another number of processes, and options that name another batch.
    """
    for name, entry in ((BATCH, "batch"), (ACCUMULATION, "accumulation")):
        if options.get(name, record[entry]) != record[entry]:
            raise UserError(
                f"The run was fitted to memory with {name}={record[entry]}, and its iterations are "
                f"counted in such batches: leave {options[name]} out, or start a new run from its "
                "weights with --load-from."
            )
    if record["processes"] != processes:
        raise UserError(
            f"The run was fitted to memory for {record['processes']} processes, and there are "
            f"{processes} now: resume with as many, or start a new run from its weights with "
            "--load-from and --fit-memory."
        )
    apply_setting(settled, record, "--fit-memory of the run that is resumed", options, refitted)
    return (
        f"--fit-memory, as the run that is resumed: batches of {record['batch']}, "
        f"{record['accumulation']} a step, checkpointing {record['checkpointing']}, predicted "
        f"{record['predicted_gib']:.2f} GiB."
    )
