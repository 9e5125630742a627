"""A validation split taken from the training data: whole groups, stratified by class.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011): the rarest class first, each of its
groups to the side that lacks most of that class. Here a group is several images that must stay
together, and no class may leave the training side.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from convnext_dense.errors import UserError

SHOWN = 5  # names in a sentence
EMPTY = "(no object)"  # images without objects are a class of their own
ALL = "(all)"  # and all images are one
NO_CLASS = {EMPTY, ALL}
AGAIN = "resume with the flags and the data of the run, or start a new one in another --work-dir"


class Group(NamedTuple):
    """Images that stay together: their common key, names, and the images that have each class."""

    key: str
    names: tuple[str, ...]
    counts: Counter


@dataclass
class Side:
    """One side of a split while it is filled.

    Attributes:
        fair: Images of each class that it should have; :data:`ALL` counts all images.
        counts: Images of each class that it has.
        groups: What it has, by key.
    """

    fair: dict[str, float]
    counts: Counter = field(default_factory=Counter)
    groups: dict[str, Group] = field(default_factory=dict)

    def lacks(self, label: str) -> float:
        """Images of a class up to its share; negative beyond."""
        return self.fair[label] - self.counts[label]

    def take(self, group: Group) -> None:
        """Adds a group."""
        self.groups[group.key] = group
        self.counts.update(group.counts)

    def give(self, group: Group, other: "Side") -> None:
        """Moves a group to the other side."""
        del self.groups[group.key]
        self.counts.subtract(group.counts)
        other.take(group)

    def too_many(self, group: Group) -> float:
        """How far a group would take a class beyond its share, as a part of that share."""
        return max((n - self.lacks(label)) / self.fair[label] for label, n in group.counts.items())

    def has_alone(self, group: Group) -> bool:
        """Whether a class occurs in this one of its groups alone."""
        labels = group.counts.keys() - NO_CLASS
        return any(self.counts[label] == group.counts[label] for label in labels)

    def is_nearer_with(self, group: Group) -> bool:
        """Whether the number of images comes nearer to its share by a group."""
        return abs(self.lacks(ALL) - group.counts[ALL]) < abs(self.lacks(ALL))

    def names(self) -> list[str]:
        """Its images, sorted."""
        return sorted(name for group in self.groups.values() for name in group.names)


def split_groups(
    names: Sequence[str],
    labels: Sequence[Collection[str]],
    share: float,
    seed: int = 0,
    group_by: str | None = None,
) -> tuple[list[str], list[str]]:
    """Divides images into a training and a validation side.

    The result depends on the set of images and on ``seed``, not on their order.

    Args:
        names: The images, each name once.
        labels: The classes that occur in each; none for an image without objects.
        share: Share of the images for validation, between 0 and 1.
        seed: Decides between groups that fit equally well.
        group_by: Regular expression. Images for which its first group in brackets (without one: the
            whole match) is the same text stay on one side.

    Returns:
        ``(training, validation)``: sorted names, at least one on each side. The training side has
        every class wherever that leaves something for validation (:func:`remark_split`).

    Raises:
        UserError: For names that do not match ``group_by``, or fewer than two groups.
    """
    groups = _groups(names, labels, group_by, seed)
    if len(groups) < 2:
        detail = "" if group_by is None else f" share {groups[0].key!r} by --group-by {group_by!r}"
        raise UserError(
            f"--split needs two images or groups of images at least: all {len(names)}{detail}."
            if group_by and groups
            else f"--split needs two images at least, and there are {len(names)}."
        )
    train, val = _stratify(groups, share)
    _keep_classes(train, val)
    _reach_share(train, val)
    _keep_classes(train, val)  # of a group that was alone in validation before
    return train.names(), val.names()


def remark_split(
    names: Sequence[str], labels: Sequence[Collection[str]], val: Collection[str]
) -> list[str]:
    """A sentence each on classes that one side of a split lacks.

    Args:
        names, labels: As :func:`split_groups` takes them.
        val: The names of the validation side.
    """
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    chosen = set(val)
    for name, found in zip(names, labels, strict=True):
        sides[name in chosen].update(found)
    remarks = []
    for lacking, side, other in (
        (sides[True] - sides[False], "training", "in one image or group"),
        (sides[False] - sides[True], "validation", "in few images or groups"),
    ):
        if lacking:
            shown = sorted(lacking)
            some = ", ".join(shown[:SHOWN]) + (" ..." if len(shown) > SHOWN else "")
            remarks.append(
                f"The {side} side of the split has no instance of {len(shown)} "
                f"class{'es' * (len(shown) > 1)} that occur{'s' * (len(shown) == 1)} {other}: "
                f"{some}."
            )
    return remarks


def _groups(
    names: Sequence[str], labels: Sequence[Collection[str]], group_by: str | None, seed: int
) -> list[Group]:
    """The groups, largest first; among equally large ones, an order that the seed decides."""
    members: dict[str, list[str]] = defaultdict(list)
    counts: dict[str, Counter] = defaultdict(Counter)
    keys = names if group_by is None else _keys(names, group_by)
    for key, name, found in zip(keys, names, labels, strict=True):
        members[key].append(name)
        counts[key].update({ALL, *(found or {EMPTY})})
    order = sorted(members, key=lambda key: (-len(members[key]), digest(f"{seed}/{key}")))
    return [Group(key, tuple(sorted(members[key])), counts[key]) for key in order]


def _keys(names: Sequence[str], group_by: str) -> list[str]:
    """What each name has in common with the others of its group."""
    pattern = re.compile(group_by)
    group = 1 if pattern.groups else 0
    found = [pattern.search(name) for name in names]
    keys = [match and match[group] for match in found]
    lacking = [name for name, key in zip(names, keys, strict=True) if key is None]
    if lacking:
        some = ", ".join(lacking[:SHOWN]) + (" ..." if len(lacking) > SHOWN else "")
        raise UserError(
            f"--group-by {group_by!r} matches nothing in {len(lacking)} of {len(names)} names: "
            f"{some}: give a pattern that matches in every name."
        )
    return keys


def _stratify(groups: Sequence[Group], share: float) -> tuple[Side, Side]:
    left: Counter = Counter()
    having: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        left.update(group.counts)
        for label in group.counts:
            having[label].append(group)
    train, val = (
        Side({label: part * count for label, count in left.items()}) for part in (1 - share, share)
    )
    while left:
        label = min(left, key=lambda name: (left[name], name == ALL, name))
        for group in having[label]:
            if group.key in train.groups or group.key in val.groups:
                continue
            lack = [(side.lacks(label), side.lacks(ALL)) for side in (train, val)]
            (val if lack[1] > lack[0] else train).take(group)
            for name in left.keys() & group.counts.keys():
                left[name] -= group.counts[name]
        del left[label]
    return train, val


def _keep_classes(train: Side, val: Side) -> None:
    """Gives the training side the smallest group of each class that it lacks."""
    for label in sorted(set(val.counts) - NO_CLASS):
        having = [group for group in val.groups.values() if group.counts[label]]
        if having and not train.counts[label] and len(val.groups) > 1:
            val.give(min(having, key=lambda group: len(group.names)), train)


def _reach_share(train: Side, val: Side) -> None:
    """Moves groups where that brings the validation side nearer to its share, or out of nothing.

    Groups go whose classes the other side lacks most. A class never leaves the training side,
    unless nothing else would be left for validation.
    """
    for giver, taker in ((train, val), (val, train)):
        for group in sorted(giver.groups.values(), key=taker.too_many):
            leaves = giver is val or not train.has_alone(group)
            if leaves and taker.is_nearer_with(group) and len(giver.groups) > 1:
                giver.give(group, taker)
    for giver, taker in ((train, val), (val, train)):
        if not taker.groups:
            smallest = min(giver.groups.values(), key=lambda g: (giver.has_alone(g), len(g.names)))
            giver.give(smallest, taker)


def digest(text: str) -> str:
    """A text in 64 letters and digits, the same on every machine."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
