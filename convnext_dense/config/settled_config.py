"""A config on its way from its file to a run, with a record of every change."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from convnext_dense.config.config_tree import entries

ABSENT = "(absent)"


@dataclass(frozen=True)
class Change:
    """One entry that a run has otherwise than its config file.

    Attributes:
        key: Dotted key.
        before, after: Its values; ``ABSENT`` where there was or is no such entry.
        reason: Why it was changed: a flag, the data, the machine.
    """

    key: str
    before: Any
    after: Any
    reason: str


class SettledConfig:
    """A config and its record.

    Args:
        recipe: The config as its file states it; it is copied and never changed.

    Attributes:
        recipe: That copy's origin.
        cfg: The config as it will run.
        changes: The record, in the order in which the changes were made.
    """

    def __init__(self, recipe: Config) -> None:
        self.recipe = recipe
        self.cfg = deepcopy(recipe)
        self.changes: list[Change] = []

    @contextmanager
    def changing(self, reason: str) -> Iterator[Config]:
        """Gives the config to be changed, and records the differences under a reason."""
        before = _values(self.cfg)
        yield self.cfg
        after = _values(self.cfg)
        for key in [*before, *(key for key in after if key not in before)]:
            old, new = before.get(key, ABSENT), after.get(key, ABSENT)
            if type(old) is not type(new) or old != new:
                self.changes.append(Change(key, old, new, reason))

    def final_changes(self) -> list[Change]:
        """The record with one line for each key: its first value, its last one, the last reason."""
        merged: dict[str, Change] = {}
        for change in self.changes:
            first = merged.pop(change.key, change)
            merged[change.key] = Change(change.key, first.before, change.after, change.reason)
        return [change for change in merged.values() if change.before != change.after]


def _values(cfg: Config) -> dict[str, Any]:
    return dict(entries(cfg.to_dict()))
