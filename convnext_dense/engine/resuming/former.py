"""The run that a checkpoint was written by: its length, its settings, its place."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from convnext_dense.config.plain import read_plain
from convnext_dense.data.fit_schedule import plan_of
from convnext_dense.errors import UserError
from convnext_dense.optim.refit import Refit
from convnext_dense.optim.stepping import Plan, as_list

EPOCH_LENGTH = "iterations_per_epoch"  # in a checkpoint's meta
REFIT = "resumed_schedule"  # in a config
READ = (
    "train_cfg", "param_scheduler", "train_dataloader", "optim_wrapper", "default_hooks",
    "custom_hooks", REFIT,
)  # fmt: skip


@dataclass(frozen=True)
class Former:
    """What a checkpoint tells about its run.

    Attributes:
        config: The sections of its config that are compared; empty where it cannot be read.
        plan: How it counted; None where neither the config nor the checkpoint says it.
        refit: What an earlier resumption did to its schedule.
        iteration, epoch: Where it was saved.
        epoch_length: Iterations of an epoch; None in files that do not say.
    """

    config: Mapping[str, Any]
    plan: Plan | None
    refit: Refit | None
    iteration: int
    epoch: int
    epoch_length: int | None

    @property
    def schedule(self) -> list[Mapping[str, Any]] | None:
        """Its ``param_scheduler``; None where it is unknown."""
        return as_list(self.config["param_scheduler"]) if "param_scheduler" in self.config else None

    @property
    def optimizer(self) -> Mapping[str, Any]:
        """Its optimizer; empty where it is unknown."""
        return (self.config.get("optim_wrapper") or {}).get("optimizer") or {}

    @property
    def images(self) -> int | None:
        """Images of an iteration of one process."""
        return (self.config.get("train_dataloader") or {}).get("batch_size")

    @property
    def accumulated(self) -> int | None:
        """Batches of a step."""
        wrapper = self.config.get("optim_wrapper")
        return wrapper and wrapper.get("accumulative_counts", 1)


def read_former(checkpoint: Mapping[str, Any]) -> Former:
    """Reads a checkpoint of a run; its config is read as data, and nothing in it is executed."""
    meta = checkpoint["meta"]
    try:
        config = read_plain(str(meta.get("cfg") or ""), READ)
    except (SyntaxError, ValueError):
        config = {}
    length = _epoch_length(checkpoint, config)
    known = length and {"max_epochs", "max_iters"} & set(config.get("train_cfg") or {})
    names = {field.name for field in fields(Refit)}
    refit = {k: v for k, v in (config.get(REFIT) or {}).items() if k in names}
    return Former(
        config=config,
        plan=plan_of(config["train_cfg"], length) if known else None,
        refit=Refit(**refit) if "iteration" in refit else None,
        iteration=meta["iter"],
        epoch=meta["epoch"],
        epoch_length=length,
    )


def _epoch_length(checkpoint: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """From the checkpoint; from the run's two lengths in those of earlier versions."""
    if EPOCH_LENGTH in checkpoint["meta"]:
        return checkpoint["meta"][EPOCH_LENGTH]
    told = (checkpoint.get("message_hub") or {}).get("runtime_info") or {}
    epochs, iterations = told.get("max_epochs"), told.get("max_iters")
    whole = config.get("train_cfg") and "max_iters" not in config["train_cfg"]
    if whole and epochs and iterations and iterations % epochs == 0:
        return iterations // epochs
    return None


def settle_place(checkpoint: dict[str, Any], former: Former, plan: Plan, source: str) -> bool:
    """Moves a checkpoint's place to epochs of another length; says whether it was moved.

    A run that counts epochs goes on at the end of the epoch that is done. One that counts
    iterations keeps their number; its passes over the data are counted anew.

    Raises:
        UserError: For a checkpoint from inside of an epoch, or inside of a step of the optimizer
            that has other batches now.
    """
    meta, before = checkpoint["meta"], former.epoch_length
    if before is None or before == plan.per_epoch:
        return False
    if not plan.by_epoch:
        meta["epoch"] = former.iteration // plan.per_epoch
    elif former.iteration % before:
        raise UserError(
            f"{source} was written at iteration {former.iteration}, inside of epoch "
            f"{former.iteration // before + 1}, of a run with {before} iterations an epoch; with "
            f"{plan.per_epoch} batches an epoch, as here, that is no place to go on: resume from "
            "a checkpoint of the end of an epoch, or with the data, the batch size and the number "
            "of processes of the run, or start a new one from its weights with --load-from."
        )
    else:
        meta["epoch"] = former.iteration // before
        meta["iter"] = meta["epoch"] * plan.per_epoch
    # Of an unfinished step of other batches; emptied, since a hook has hold of them by now.
    checkpoint.get("gradients", {}).clear()
    return True


def check_step(
    checkpoint: Mapping[str, Any], former: Former, accumulated: int, source: str
) -> None:
    """Refuses to go on inside of a step that has another number of batches now.

    Raises:
        UserError: Names both numbers.
    """
    if checkpoint.get("gradients") and former.accumulated not in (None, accumulated):
        raise UserError(
            f"{source} was written inside of a step of {former.accumulated} batches, and this run "
            f"has {accumulated} a step: resume with --accumulate {former.accumulated}, or from a "
            "checkpoint between two steps."
        )
