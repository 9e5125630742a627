"""A checkpoint made to fit the run that resumes it, before mmengine loads it.

mmengine brings back whatever a checkpoint holds: the rates, their decay, the end of each schedule.
Here they become those of the run's config, and where nothing was changed nothing is touched, so
that the run goes on bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmengine.config import Config

from convnext_dense.engine.resuming import groups
from convnext_dense.engine.resuming.former import (
    REFIT,
    Former,
    check_step,
    read_former,
    settle_place,
)
from convnext_dense.errors import UserError
from convnext_dense.optim.refit import Entry, Refit, rise
from convnext_dense.optim.stepping import Plan, as_list, build_schedulers, step_schedulers

# What a schedule counts, and not how it is set.
PROGRESS = (
    "_global_step", "_last_value", "last_step", "verbose",
    "best", "num_bad_epochs", "cooldown_counter",
)  # fmt: skip
BASES = "base_values"


@dataclass(frozen=True)
class Resumption:
    """A resumed run beside the one that it goes on with.

    Attributes:
        former: The run of the checkpoint.
        plan: How this run counts.
        iteration, epoch: Where it goes on.
        schedulers: Its schedules as built from its config.
        rates_before: The full learning rate of the checkpoint, and the one it was saved with;
            those of the group with the largest one.
        rates_now: The same of this run.
        changed: Other settings of the optimizer that differ: ``{name: (before, now)}``.
        refit: What was done to the schedule just now; None where it stays or is as stated.
        kept: Nothing was changed: the run goes on bit for bit.
    """

    former: Former
    plan: Plan
    iteration: int
    epoch: int
    schedulers: list
    rates_before: tuple[float, float]
    rates_now: tuple[float, float]
    changed: dict[str, tuple[Any, Any]]
    refit: Refit | None
    kept: bool


def adapt(
    checkpoint: dict[str, Any], cfg: Config, wrapper: Any, plan: Plan, source: str
) -> Resumption:
    """Gives a checkpoint the settings of the run that resumes it.

    Args:
        checkpoint: Of a run; its place, the optimizer's groups and the schedules are changed in
            place.
        cfg: The config of the run. Its schedule is fitted to what is left where it has another
            length, and ``resumed_schedule`` tells so; ``resumed_schedule.restart`` asks for one
            that begins anew.
        wrapper: The optimizer as built from it, scaled, with or without schedules.
        plan: How the run counts.
        source: The checkpoint's name for messages.

    Raises:
        UserError: For what cannot be resumed: another optimizer or other groups, a place that is
            none with epochs of another length, a schedule that cannot be fitted.
    """
    former = read_former(checkpoint)
    saved = checkpoint["optimizer"]
    groups.leave_out_unread(saved, wrapper.optimizer.param_groups)
    groups.check_same_parameters(saved, wrapper.optimizer.param_groups, source)
    kinds = former.optimizer.get("type"), cfg.optim_wrapper.optimizer.type
    groups.check_same_optimizer(saved, wrapper.optimizer.param_groups, kinds, source)
    check_step(checkpoint, former, wrapper._accumulative_counts, source)
    moved = settle_place(checkpoint, former, plan, source)
    place = checkpoint["meta"]["iter"], checkpoint["meta"]["epoch"]
    schedules = _Schedules(checkpoint, cfg, wrapper, plan, former, moved)
    before = _rates(saved["param_groups"])
    refit = schedules.settle()
    changed = groups.take_settings(saved, wrapper, schedules.scheduled)
    kept = not (moved or schedules.differ)
    if (seed := checkpoint["meta"].get("seed")) is not None and "randomness" in cfg:
        cfg.randomness["seed"] = seed  # the run's, whatever this command asks for
    if not kept:
        schedules.bring_up()
    now = _rates(saved["param_groups"])
    return Resumption(
        former, plan, *place, schedules.built, before, now, changed, refit, kept and not changed
    )


class _Schedules:
    """The schedules of a run that is resumed.

    Attributes:
        built: Those of its config, built on its optimizer.
        scheduled: The settings of the optimizer that they or the checkpoint's change.
    """

    def __init__(
        self,
        checkpoint: dict[str, Any],
        cfg: Config,
        wrapper: Any,
        plan: Plan,
        former: Former,
        moved: bool,
    ) -> None:
        self.checkpoint, self.cfg, self.wrapper = checkpoint, cfg, wrapper
        self.plan, self.former, self.moved = plan, former, moved
        self.iteration, self.epoch = (checkpoint["meta"][name] for name in ("iter", "epoch"))
        self.saved: list[dict] = checkpoint.get("param_schedulers") or []
        self.stated: list[Entry] = [dict(entry) for entry in as_list(cfg.get("param_scheduler"))]
        names = {state["param_name"] for state in self.saved}
        self.built = self._build(self.stated)
        self.scheduled = names | {one.param_name for one in self.built}

    def settle(self) -> Refit | None:
        """Settles the schedule, in the config too; returns what was done to it just now."""
        asked = (self.cfg.pop(REFIT, None) or {}) if self._asked else {}
        restart, old = bool(asked), self.former.refit
        entries, refit = self.stated, None
        stated_as_is = self._is_saved(self.stated)
        continued = not stated_as_is and old is not None and self._is_saved(self._refitted(old))
        same = stated_as_is or continued
        if restart and same and old and old.restart and self._same_length:
            restart = False  # the same command once more: it has begun anew already
        if restart:
            self._check_left()
            refit = Refit(self.iteration, *self._length_before(same), restart=True)
        elif continued and self._same_length and not self.moved:
            entries = old.apply(self.stated, self.plan)
        elif continued or not (stated_as_is and self._same_length):
            refit = Refit(self.iteration, *self._length_before(same))
        if refit:
            entries = refit.apply(self.stated, self.plan)
        self.built = self._build(entries)
        if refit and not restart:
            refit, entries = self._with_rise(refit, entries)
        self._write(entries, refit or (old if same else None))
        return refit

    @property
    def _asked(self) -> bool:
        """Whether the config asks for a restart, and not only tells of an earlier one."""
        return "iteration" not in (self.cfg.get(REFIT) or {"iteration": 0})

    @property
    def _same_length(self) -> bool:
        """Whether both runs have one length; a trial of an iteration-counting run is shorter."""
        old = self.former.plan
        if old is None or old.by_epoch != self.plan.by_epoch:
            return True
        if self.plan.by_epoch:
            return old.epochs == self.plan.epochs
        return old.total >= self.plan.total

    def _length_before(self, same_recipe: bool) -> tuple[int | None, int | None]:
        """The length that the stated schedule has, where it is the checkpoint's."""
        old = self.former.refit
        if not same_recipe or self.former.plan is None:
            return None, None
        if old is not None and old.iterations_before is not None:
            return old.epochs_before, old.iterations_before
        return self.former.plan.epochs, self.former.plan.total

    def _check_left(self) -> None:
        if self.iteration >= self.plan.total:
            raise UserError(
                f"--warm-restart: the run has {self.plan.total} iterations, and all of them are "
                "done: give it a longer length too (--epochs, train_cfg.max_epochs or "
                "train_cfg.max_iters)."
            )

    def _refitted(self, refit: Refit) -> list[Entry]:
        return refit.apply(self.stated, self.former.plan or self.plan)

    def _is_saved(self, entries: Sequence[Mapping]) -> bool:
        """Whether entries are those that the checkpoint's run had, whatever its rate was."""
        built = self._build(entries, self.former.plan or self.plan)
        return _settings(built, bases=False) == _settings(self.saved, bases=False)

    def _build(self, entries: Sequence[Mapping], plan: Plan | None = None) -> list:
        groups.reset(self.wrapper)
        return build_schedulers(entries, self.wrapper, plan or self.plan)

    @property
    def differ(self) -> bool:
        """Whether the schedules, or the values they start from, are not the checkpoint's."""
        followers = [one for one in self.built if getattr(one, "need_val_args", False)]
        for state, one in zip(self.saved, self.built, strict=False):
            if one in followers:  # its end is of no consequence to what it has counted
                state["end"] = one.end
        rate = self.cfg.optim_wrapper.optimizer.get("lr")
        if followers and self.former.optimizer.get("lr", rate) != rate:
            return True  # they remember no full rate
        return _settings(self.built) != _settings(self.saved)

    def _with_rise(self, refit: Refit, entries: list[Entry]) -> tuple[Refit | None, list[Entry]]:
        """Adds a rise to the new schedule, where it has a higher rate than the checkpoint's."""
        if not self.differ:
            return None, entries
        self._states()
        group = max(self.wrapper.optimizer.param_groups, key=groups.full)
        former = max(self.checkpoint["optimizer"]["param_groups"], key=groups.full)
        present, new = (one["lr"] / groups.full(one) for one in (former, group))
        start, over = rise(present, new, self.plan.total - self.iteration)
        if over:
            refit = replace(refit, rise_from=start, rise_over=over)
            entries = refit.apply(self.stated, self.plan)
        self.built = self._build(entries)
        return refit, entries

    def _write(self, entries: list[Entry], refit: Refit | None) -> None:
        """The config tells what the run does."""
        if entries != self.stated:
            self.cfg.param_scheduler = entries
        if refit is not None:
            self.cfg[REFIT] = refit.as_dict()

    def _states(self) -> list[dict]:
        """The states of the schedules at the place of the checkpoint; the groups get its values."""
        steps = step_schedulers(self.built, self.plan.per_epoch, self.epoch)
        self.wrapper._global_step = 0  # else the schedules warn that no step was made before theirs
        for _ in range(self.iteration):
            next(steps)
        self.wrapper._global_step = -1
        return [scheduler.state_dict() for scheduler in self.built]

    def bring_up(self) -> None:
        """Steps the schedules to the place of the checkpoint, and writes what they give into it.

        Raises:
            UserError: For one that follows an evaluation's figure.
        """
        for one in self.built:
            if getattr(one, "need_val_args", False):
                raise UserError(
                    f"The schedule {type(one).__name__} follows the evaluations and cannot be "
                    "brought to another rate or place: resume with the learning rate, the "
                    "schedule and the batch size of the run, or start a new one from its weights "
                    "with --load-from."
                )
        self.checkpoint["param_schedulers"] = self._states()
        for former, group in groups.pairs(self.checkpoint["optimizer"], self.wrapper):
            for name in self.scheduled | {"lr"}:
                for key in (name, f"initial_{name}"):
                    if key in group:
                        former[key] = group[key]


def _settings(schedulers: Sequence, bases: bool = True) -> list[dict]:
    """What schedules, or saved states of them, are set to."""
    states = [one if isinstance(one, dict) else one.state_dict() for one in schedulers]
    left_out = PROGRESS if bases else (*PROGRESS, BASES)
    return [
        {k: v for k, v in state.items() if k not in left_out and not callable(v)}
        for state in states
    ]


def _rates(param_groups: Sequence[Mapping]) -> tuple[float, float]:
    group = max(param_groups, key=groups.full)
    return groups.full(group), group["lr"]
