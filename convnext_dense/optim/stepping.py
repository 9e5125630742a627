"""mmengine's schedules, built and stepped as a run does it, without a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

Entries = Sequence[Mapping[str, Any]] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Plan:
    """How a training counts.

    Attributes:
        per_epoch: Iterations of an epoch, or of a pass over the data.
        epochs: The epochs that the schedule counts on.
        iterations: The iterations after which the run ends.
        by_epoch: Whether its length counts epochs.
    """

    per_epoch: int
    epochs: int
    iterations: int
    by_epoch: bool = True

    @property
    def total(self) -> int:
        """Iterations of the whole training, also where ``--max-iters`` ends the run before."""
        return self.epochs * self.per_epoch if self.by_epoch else self.iterations


@dataclass(frozen=True)
class RateSummary:
    """What becomes of the learning rate from some iteration on.

    Attributes:
        first: The rate of that iteration.
        largest: The largest one from there on.
        at: The iteration that has it, counted from 1, the first one of several.
        last: The rate of the last iteration.
    """

    first: float
    largest: float
    at: int
    last: float


def as_list(entries: Entries) -> list[Mapping[str, Any]]:
    """A config's ``param_scheduler``, which may be one, several or none."""
    return [entries] if isinstance(entries, Mapping) else list(entries or [])


def schedule_end(cfg: Mapping[str, Any]) -> int | None:
    """The iterations of a whole schedule that counts them; None for one that counts epochs.

    The config of a run that ``--max-iters`` ended says where it ended; its schedule says the rest.
    """
    counted = cfg.get("train_cfg") or {}
    if "max_epochs" in counted or "max_iters" not in counted:
        return None
    entries = as_list(cfg.get("param_scheduler"))
    ends = [entry.get("end") or 0 for entry in entries if not entry.get("by_epoch", True)]
    return max(counted["max_iters"], *ends, 0)


def build_schedulers(entries: Entries, optimizer: Any, plan: Plan) -> list:
    """Builds schedules as mmengine's Runner does: without an ``end`` they last as long as the run.

    Args:
        entries: The config's ``param_scheduler``.
        optimizer: Optimizer or optim wrapper, whose rates become those of the first iteration.
        plan: How the training counts.
    """
    ends = {True: plan.epochs, False: plan.iterations}
    return [
        PARAM_SCHEDULERS.build(
            {"end": ends[bool(entry.get("by_epoch", True))], **entry},
            default_args=dict(optimizer=optimizer, epoch_length=plan.per_epoch),
        )
        for entry in as_list(entries)
    ]


def step_schedulers(
    schedulers: Sequence, per_epoch: int, epochs: int | None = None
) -> Iterator[int]:
    """Steps schedules without end, as the loop's hooks do; gives the iterations that are done.

    Args:
        schedulers: They have the values of the first iteration.
        per_epoch: Iterations of an epoch.
        epochs: The last epoch whose end is counted: a run can be saved just before it is.
    """
    by_iteration = [one for one in schedulers if not one.by_epoch]
    by_epoch = [one for one in schedulers if one.by_epoch]
    done = 0
    while True:
        for scheduler in by_iteration:
            scheduler.step()
        done += 1
        if done % per_epoch == 0 and (epochs is None or done // per_epoch <= epochs):
            for scheduler in by_epoch:
                scheduler.step()
        yield done


def shadow_optimizer(rates: Sequence[float], accumulated: int = 1) -> OptimWrapper:
    """An optimizer without a model, a group for each rate, that schedules can be built on."""
    groups = [dict(params=[torch.zeros(1)], lr=rate) for rate in rates]
    return OptimWrapper(torch.optim.SGD(groups, lr=1.0), accumulative_counts=accumulated)


def summarise_rates(
    rate: float, entries: Entries, plan: Plan, accumulated: int = 1, start: int = 0
) -> RateSummary:
    """Steps a config's schedules over a whole run.

    Args:
        rate: The optimizer's learning rate, which the schedules change.
        entries: The config's ``param_scheduler``.
        plan: How the training counts; its last iteration is that of the run.
        accumulated: Batches of a step of the optimizer.
        start: Iterations that are left out: a resumed run has them behind it.
    """
    optimizer = shadow_optimizer([rate], accumulated)
    schedulers = build_schedulers(entries, optimizer, plan)
    optimizer._global_step = 0  # else the schedules warn that no step was made before theirs
    (group,) = optimizer.optimizer.param_groups
    steps = step_schedulers(schedulers, plan.per_epoch)
    for _ in range(start):
        next(steps)
    first = largest = last = group["lr"]
    at = start
    for done in range(start + 1, plan.iterations):
        next(steps)
        last = group["lr"]
        if last > largest:
            largest, at = last, done
    return RateSummary(first, largest, at + 1, last)
