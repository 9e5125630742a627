"""Learning rate schedules that keep the ratios between layer-decayed groups."""

import math
from collections.abc import Mapping

from mmengine.optim import BaseOptimWrapper, PolyLR
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from convnext_dense.errors import UserError
from convnext_dense.optim.stepping import as_list

# Settings of mmengine's schedulers that are one absolute learning rate for all groups.
ABSOLUTE_LR_SETTINGS = ("eta_min", "min_value", "eta_max")
# Schedules that hold the rate down at first, and what by.
WARMUPS = {"LinearLR": "start_factor", "ConstantLR": "factor"}
RATIO_SCHEDULERS = {
    "CosineAnnealingLR": "CosineAnnealingLR",
    "CosineRestartLR": "CosineRestartLR",
    "PolyLR": "PolyRatioLR",
}


@PARAM_SCHEDULERS.register_module()
class PolyRatioLR(PolyLR):
    """mmengine's PolyLR with the minimum as a ratio of each group's own learning rate.

    PolyLR knows only an absolute `eta_min`, which would raise groups with a lower learning rate.

    Args:
        optimizer: optimizer or optim wrapper.
        eta_min_ratio: learning rate at the end, as a fraction in [0, 1] of the initial one.
        power, begin, end, last_step, by_epoch, verbose: as for PolyLR.

    Raises:
        UserError: `eta_min_ratio` is outside [0, 1].
    """

    def __init__(
        self,
        optimizer,
        eta_min_ratio: float = 0.0,
        power: float = 1.0,
        begin: int = 0,
        end: int = int(1e9),
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ):
        if not 0 <= eta_min_ratio <= 1:
            raise UserError(f"PolyRatioLR: eta_min_ratio must be in [0, 1], got {eta_min_ratio!r}")
        self.eta_min_ratio = eta_min_ratio
        super().__init__(
            optimizer,
            power=power,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    def _get_value(self) -> list[float]:
        groups = self.optimizer.param_groups
        if self.last_step == 0:
            return [group["lr"] for group in groups]
        factor = (1 - 1 / (self.total_iters - self.last_step + 1)) ** self.power
        floors = [base * self.eta_min_ratio for base in self.base_values]
        return [
            floor + (group["lr"] - floor) * factor
            for floor, group in zip(floors, groups, strict=True)
        ]


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warmup from 0, then half a cosine: the schedule of the classification recipes.

    Both are closed forms of the optimizer's step, so that a step's learning rate does not depend on
    how many batches it accumulates. mmengine's LinearLR cannot start from 0, since each of its
    values is a multiple of the one before.

    Args:
        optimizer: Optimizer or optim wrapper; a wrapper tells how many batches a step accumulates.
        warmup: Length of the warmup, whose last step has the full learning rate; one of a single
            step is none.
        eta_min_ratio: Learning rate at the end, as a fraction in [0, 1] of the group's own.
        begin, end, last_step, by_epoch, verbose: As in mmengine. Configs count epochs:
            ``by_epoch=True, convert_to_iter_based=True``.

    Raises:
        UserError: For a ratio outside [0, 1], a warmup as long as the training, or epochs without
            ``convert_to_iter_based``.
    """

    def __init__(
        self,
        optimizer,
        warmup: int = 0,
        eta_min_ratio: float = 0.0,
        begin: int = 0,
        end: int = int(1e9),
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ):
        if not 0 <= eta_min_ratio <= 1:
            raise UserError(
                f"WarmupCosineLR: eta_min_ratio must be in [0, 1], got {eta_min_ratio!r}"
            )
        if by_epoch:
            raise UserError(
                "WarmupCosineLR changes the learning rate at every step: give "
                "convert_to_iter_based=True"
            )
        if not 0 <= warmup < end - begin:
            raise UserError(
                f"WarmupCosineLR: the warmup of {warmup} iterations must be shorter than the "
                f"training of {end - begin}"
            )
        self.eta_min_ratio = eta_min_ratio
        wrapped = isinstance(optimizer, BaseOptimWrapper)
        self.batches = optimizer._accumulative_counts if wrapped else 1
        self.warmup = warmup // self.batches
        if self.warmup == 1:  # its only step would have the rate 0
            self.warmup = 0
        self.steps = -(-(end - begin) // self.batches)
        super().__init__(
            optimizer, begin=begin, end=end, last_step=last_step, by_epoch=False, verbose=verbose
        )

    @classmethod
    def build_iter_from_epoch(
        cls, *args, warmup=0, begin=0, end, by_epoch=True, epoch_length=None, **kwargs
    ):
        """Builds the schedule from lengths in epochs (mmengine calls this)."""
        lengths = dict(warmup=warmup, begin=begin, end=end)
        lengths = {name: round(value * epoch_length) for name, value in lengths.items()}
        return cls(*args, **lengths, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step // self.batches)
        return [base * factor for base in self.base_values]

    def factor(self, step: int) -> float:
        """Factor of the full learning rate at a step of the optimizer, counted from 0."""
        if step < self.warmup:
            return step / (self.warmup - 1)
        share = (step - self.warmup) / (self.steps - self.warmup)
        return self.eta_min_ratio + (1 - self.eta_min_ratio) * (1 + math.cos(math.pi * share)) / 2


@PARAM_SCHEDULERS.register_module()
class RiseLR(LRSchedulerMixin, _ParamScheduler):
    """Leads a run that was resumed with another length from its rate to that of its new schedule.

    It takes two entries. The first one of the schedule takes back what the last one did to the step
    before, so that those between them see the rates that they have made, whether they multiply the
    rate before them or state one of their own.

    Args:
        optimizer: Optimizer or optim wrapper.
        start_factor: Share of the new schedule's rate at ``begin``; it grows linearly to 1.
        begin, end: Iterations; that before ``end`` has the whole rate.
        undo: This is the first one.
        last_step, by_epoch, verbose: As in mmengine.
    """

    def __init__(
        self,
        optimizer,
        start_factor: float,
        begin: int,
        end: int,
        undo: bool = False,
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
    ):
        self.start_factor, self.undo = start_factor, undo
        self.over = end - begin - 1
        super().__init__(
            optimizer, begin=begin, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose
        )

    def _get_value(self) -> list[float]:
        factor = 1 / self.factor(self.last_step - 1) if self.undo else self.factor(self.last_step)
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def factor(self, step: int) -> float:
        """Share of the rate at a step of the rise; -1 is the one before it."""
        if step < 0:
            return 1.0
        return self.start_factor + (1 - self.start_factor) * step / self.over


def check_schedulers(schedulers: list[dict] | dict | None, base_lr: float | None = None) -> None:
    """Refuses schedules with an absolute learning rate, which would break layer decay's ratios.

    With an absolute `eta_min` the groups with the lowest learning rates hardly decay, or even rise
    to it. Without layer decay such schedules are fine: `check_schedule` distinguishes the two.

    Args:
        schedulers: the config's `param_scheduler`: one, a list, or none.
        base_lr: the optimizer's lr, to suggest a ratio instead.

    Raises:
        UserError: names the scheduler, its setting and the setting to write instead.
    """
    for cfg in as_list(schedulers):
        kind = type_name(cfg["type"])
        if not kind.endswith("LR") and cfg.get("param_name") != "lr":
            continue  # momentum, weight decay: absolute limits are fine there
        for key in ABSOLUTE_LR_SETTINGS:
            if cfg.get(key):  # 0 and None keep the ratios
                raise UserError(
                    f"param_scheduler {kind}: {key}={cfg[key]} is one absolute learning rate "
                    f"for all groups and would destroy the ratios of layer decay; "
                    f"{_suggestion(kind, key, cfg[key], base_lr)}"
                )


def is_single_step(entry: Mapping) -> bool:
    """Whether a warmup lasts a single step: it lowers the rate there, and nothing raises it again.

    mmengine's warmups multiply the rate before them, step by step.
    """
    factor = WARMUPS.get(type_name(entry["type"]))
    if factor is None or entry.get("convert_to_iter_based") or entry.get("end") is None:
        return False
    return entry["end"] - entry.get("begin", 0) < 2 and entry.get(factor, 1 / 3) != 1


def check_schedule(cfg: Mapping) -> None:
    """`check_schedulers` for a whole config, where it has layer decay; and its warmups.

    Raises:
        UserError: as `check_schedulers`; for a warmup that nothing ends.
    """
    for entry in as_list(cfg.get("param_scheduler")):
        if is_single_step(entry):
            kind = type_name(entry["type"])
            unit = "epoch" if entry.get("by_epoch", True) else "iteration"
            raise UserError(
                f"param_scheduler {kind}: from begin={entry.get('begin', 0)} to "
                f"end={entry['end']} is a single {unit}, after which the learning rate stays at "
                f"{WARMUPS[kind]}={entry.get(WARMUPS[kind], 1 / 3):g} of itself: give it two or "
                "more, or leave it out."
            )
    wrapper = cfg.get("optim_wrapper") or {}
    if type_name(wrapper.get("constructor") or "") == "LayerDecayOptimWrapperConstructor":
        check_schedulers(cfg.get("param_scheduler"), wrapper["optimizer"].get("lr"))


def type_name(kind: str | type) -> str:
    """The class name of a config's `type`, which may be a class or have a scope."""
    return (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]


def _suggestion(kind: str, key: str, value: float, base_lr: float | None) -> str:
    if key != "eta_min" or kind not in RATIO_SCHEDULERS:
        names = sorted(set(RATIO_SCHEDULERS.values()))
        return f"use MultiStepLR, or one of {', '.join(names)} with eta_min_ratio"
    ratio = f"{value / base_lr:g}" if base_lr else f"{value} / lr"
    return f"write type={RATIO_SCHEDULERS[kind]!r}, eta_min_ratio={ratio} instead"
