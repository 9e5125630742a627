"""The settings of an optimizer's groups: a checkpoint's, and those of the run that resumes it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from convnext_dense.errors import UserError
from convnext_dense.optim.schedulers import type_name
from convnext_dense.weights.checkpoints import OUTPUT_NORM

BASE = "base_param_settings"  # what the log shows as base_lr: a group of mmengine's without weights
# How torch computes a step: it stays as the checkpoint has it, so that the bits do.
HOW = ("params", "foreach", "fused", "capturable", "differentiable")
# By these settings an optimizer is told from another one, where no config names it.
TELLING = ("betas", "momentum", "alpha", "rho")
Group = dict[str, Any]


def leave_out_unread(saved: Mapping[str, Any], fresh: Sequence[Group]) -> None:
    """Takes the norms of maps that are no longer emitted out of a checkpoint's groups.

    Runs of earlier versions had them, without ever a gradient, so that they have no state.
    """
    for group, other in zip(saved["param_groups"], fresh, strict=False):
        names, present = group.get("param_names", ()), other.get("param_names", ())
        gone = [n for n in names if OUTPUT_NORM.fullmatch(n) and n not in present]
        for name in gone:
            place = group["param_names"].index(name)
            del group["param_names"][place], group["params"][place]


def check_same_parameters(saved: Mapping[str, Any], fresh: Sequence[Group], source: str) -> None:
    """Refuses a state whose groups have other parameters.

    Raises:
        UserError: Says how many groups there are, or which one differs.
    """
    groups = saved["param_groups"]
    if len(groups) != len(fresh):
        found = f"{len(groups)} parameter groups, this run {len(fresh)}"
    else:
        pairs = zip(groups, fresh, strict=True)
        found = next((text for one, other in pairs if (text := _differ(one, other))), None)
    if found:
        raise UserError(
            f"The optimizer of {source} has {found}: resume with the optim_wrapper.paramwise_cfg "
            "and the frozen parts of the run (--freeze, --lora, --head-lr-mult), or start a new "
            "one from its weights with --load-from."
        )


def _differ(one: Group, other: Group) -> str | None:
    names = [group.get("group_name") for group in (one, other)]
    if names[0] != names[1]:
        return f"a parameter group {names[0]!r} where this run has {names[1]!r}"
    counts = [len(group["params"]) for group in (one, other)]
    if counts[0] != counts[1]:
        return f"{counts[0]} parameters in group {names[0] or ''} where this run has {counts[1]}"
    return None


def check_same_optimizer(
    saved: Mapping[str, Any], fresh: Sequence[Group], kinds: tuple[Any, Any], source: str
) -> None:
    """Refuses a state of another kind of optimizer.

    Args:
        saved: The state.
        fresh: The groups of this run.
        kinds: The ``type`` of both; the first one is None where the checkpoint does not say.
        source: The checkpoint's name.

    Raises:
        UserError: Names both.
    """
    before, now = (kind and type_name(kind) for kind in kinds)
    groups = saved["param_groups"][0], fresh[0]
    told = [[key for key in TELLING if key in group] for group in groups]
    if (before or now) != now or told[0] != told[1]:
        raise UserError(
            f"{source} holds the state of {before or 'another optimizer'}, which {now} cannot go "
            "on with: resume with optim_wrapper.optimizer as it was, or start a new run from the "
            "weights with --load-from."
        )


def pairs(saved: Mapping[str, Any], wrapper: Any) -> Iterator[tuple[Group, Group]]:
    """A checkpoint's groups and this run's, the one of the base rate last."""
    yield from zip(saved["param_groups"], wrapper.optimizer.param_groups, strict=True)
    if saved.get(BASE) and wrapper.base_param_settings:
        yield saved[BASE], wrapper.base_param_settings


def take_settings(
    saved: Mapping[str, Any], wrapper: Any, scheduled: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Puts this run's settings into a checkpoint's groups.

    Args:
        saved: The optimizer's state; changed in place.
        wrapper: The optimizer of this run, as built.
        scheduled: Settings that schedules change, which are not taken here.

    Returns:
        The settings that differ in some group: ``{name: (before, now)}``, the largest ones.
    """
    left_out = {*HOW, *scheduled, *(f"initial_{name}" for name in scheduled)}
    changed: dict[str, tuple[Any, Any]] = {}
    for former, group in pairs(saved, wrapper):
        for key in group.keys() - left_out:
            if former.get(key) != group[key]:
                before, now = changed.get(key, (former.get(key), group[key]))
                changed[key] = _largest(before, former.get(key)), _largest(now, group[key])
                former[key] = group[key]
    return changed


def _largest(one: Any, other: Any) -> Any:
    try:
        return max(one, other)
    except TypeError:  # None: the setting is new
        return other


def full(group: Group, name: str = "lr") -> float:
    """A group's value before any schedule."""
    return group.get(f"initial_{name}", group[name])


def reset(wrapper: Any) -> None:
    """Gives the groups the values that they have before any schedule."""
    for group in wrapper.param_groups:
        for key in [key for key in group if key.startswith("initial_")]:
            group[key.removeprefix("initial_")] = group[key]
