"""A schedule fitted anew to a run that is resumed with another length.

The entries that come out are plain ones of mmengine, written into the run's config: it says what
the run does from the iteration on at which it was resumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from convnext_dense.errors import UserError
from convnext_dense.optim.schedulers import WARMUPS, type_name
from convnext_dense.optim.stepping import Plan

Entry = dict[str, Any]
POINTS = ("begin", "end", "milestones", "T_max", "step_size", "warmup")
RESTARTABLE = (
    *WARMUPS, "MultiStepLR", "StepLR", "CosineAnnealingLR", "PolyLR", "PolyRatioLR",
    "WarmupCosineLR",
)  # fmt: skip
SHARE = 10  # a rise or a warmup has at most one in so many of the iterations that are left
LONGEST_RISE = 500
LEAST_RISE = 1e-6  # what is multiplied by 0 stays there


@dataclass(frozen=True)
class Refit:
    """What was done to the schedule that a config states; the config keeps it beside the result.

    Attributes:
        iteration: The iteration at which the run was resumed.
        epochs_before, iterations_before: The length that the schedule was stretched from; None
            where the config states one that has the new length.
        restart: The schedule begins anew there and lasts to the end of the run.
        rise_from: Factor of the new schedule's rate from which the run rises to it.
        rise_over: Iterations of that rise; 0 where there is none.
    """

    iteration: int
    epochs_before: int | None = None
    iterations_before: int | None = None
    restart: bool = False
    rise_from: float = 1.0
    rise_over: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The record for the config."""
        return asdict(self)

    def apply(self, entries: Sequence[Mapping], plan: Plan) -> list[Entry]:
        """The schedule of the run, from the one that is stated.

        Raises:
            UserError: For a schedule that cannot be started over.
        """
        found = [dict(entry) for entry in entries]
        if self._lasts_as_long(found):
            found = [self._stretch(entry, plan) for entry in found]
        if self.restart:
            moved = [restart(entry, plan, self.iteration) for entry in found]
            found = [entry for entry in moved if entry is not None]
        if self.rise_over:
            end = self.iteration + self.rise_over + 1
            rise = dict(type="RiseLR", start_factor=self.rise_from, by_epoch=False)
            rise.update(begin=self.iteration, end=end)
            found = [dict(rise, undo=True), *found, rise]
        return found

    def _before(self, entry: Entry) -> int | None:
        """The length that the run had, in the unit of an entry."""
        return self.epochs_before if entry.get("by_epoch", True) else self.iterations_before

    def _lasts_as_long(self, entries: Sequence[Entry]) -> bool:
        """Whether the schedule ended with the run; that of a trial goes on beyond its end."""
        if self.iterations_before is None:
            return False
        return all(entry.get("end") is None or entry["end"] <= self._before(entry)
                   for entry in entries)  # fmt: skip

    def _stretch(self, entry: Entry, plan: Plan) -> Entry:
        """An entry that lasted as long as the run does so again; others stay, as a warmup."""
        before = self._before(entry)
        after = plan.epochs if entry.get("by_epoch", True) else plan.total
        if type_name(entry["type"]) in WARMUPS or entry.get("end", before) != before:
            return entry
        points = [key for key in POINTS if key not in ("begin", "warmup")]
        return {**entry, **_move(entry, points, after / before)}


def restart(entry: Entry, plan: Plan, start: int) -> Entry | None:
    """An entry that begins anew at an iteration, in what is left of the run; a warmup keeps its
    length as far as it can.

    Raises:
        UserError: For a kind of schedule whose points are not known.
    """
    kind = type_name(entry["type"])
    if kind not in RESTARTABLE:
        raise UserError(
            f"--warm-restart: the schedule {kind} cannot be started over ({', '.join(RESTARTABLE)} "
            "can): leave the flag out, or start a new run from the weights with --load-from."
        )
    entry = in_iterations(entry, plan)
    left = plan.total - start
    if kind in WARMUPS and not entry.get("begin") and entry["end"] < plan.total:
        end = min(entry["end"], left // SHARE)
        return dict(entry, begin=start, end=start + end) if end > 1 else None
    moved = {**entry, **_move(entry, [key for key in POINTS if key != "warmup"], left / plan.total)}
    if "warmup" in entry:
        moved["warmup"] = min(entry["warmup"], left // SHARE)
    begin = moved.get("begin", 0)
    return dict(moved, begin=start + begin, end=start + max(moved["end"], begin + 1))


def in_iterations(entry: Entry, plan: Plan) -> Entry:
    """An entry that counts iterations, with its end."""
    by_epoch = entry.get("by_epoch", True)
    counted = {key: value for key, value in entry.items() if key != "convert_to_iter_based"}
    counted.setdefault("end", plan.epochs if by_epoch else plan.total)
    if by_epoch:
        counted.update(_move(counted, POINTS, plan.per_epoch), by_epoch=False)
    return counted


def _move(entry: Entry, points: Sequence[str], ratio: float) -> Entry:
    """The points of an entry times a ratio."""
    moved = {}
    for key in points:
        value = entry.get(key)
        if isinstance(value, list | tuple):
            moved[key] = [round(point * ratio) for point in value]
        elif value is not None:
            moved[key] = round(value * ratio)
    return moved


def rise(present: float, new: float, left: int) -> tuple[float, int]:
    """How a run gets from its present rate to a higher one of its new schedule.

    Args:
        present, new: Both rates, as factors of the groups' full ones.
        left: Iterations that are left.

    Returns:
        The factor of the new rate to begin with, and how many iterations the rise takes; 0 where
        there is nothing to rise to, or no time.
    """
    over = min(LONGEST_RISE, left // SHARE)
    if over < 2 or present > 0.9 * new:
        return 1.0, 0
    return max(LEAST_RISE, present / new), over
