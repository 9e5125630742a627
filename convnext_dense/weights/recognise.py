"""The ConvNeXt in a file: its naming, and the prefix under which it lies.

A file of one backbone has one reading, whatever its prefix. Of two, one is taken only where the
method that names them so keeps one of them; else the user names it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convnext_dense.errors import UserError
from convnext_dense.weights.formats import FIRST_CONV, rename, to_official
from convnext_dense.weights.namings import NAMINGS, Naming
from convnext_dense.weights.sparse import is_sparse, to_dense

# Two networks of one file, by a part of their names: the one that the method keeps, its average.
# "student" and "teacher" are not here: DINO keeps the teacher, distillation the student.
KEPT_OF_TWO = (
    ("encoder_q", "encoder_k"),  # MoCo
    ("base_encoder", "momentum_encoder"),  # MoCo v3
    ("online_encoder", "target_encoder"),  # BYOL
    ("online_network", "target_network"),
    ("backbone", "backbone_momentum"),  # Lightly
    ("backbone", "momentum_backbone"),  # solo-learn
)
Match = tuple[Naming, str]


@dataclass(frozen=True)
class FoundBackbone:
    """A ConvNeXt that was found in a file.

    Attributes:
        state: Its parameters by official name.
        unknown: The file's other names.
        naming: The name of the file's naming.
        prefix: What stands before the backbone's names in the file, with its dot, or "".
    """

    state: dict[str, Tensor]
    unknown: list[str]
    naming: str
    prefix: str


def find_backbone(state: Mapping[str, Tensor], prefix: str | None = None) -> FoundBackbone:
    """Finds the one ConvNeXt of a state dict and translates it into the official names.

    Args:
        state: Tensors by name.
        prefix: Where the backbone lies, with or without its last dot; None: where there is one.

    Raises:
        UserError: When no naming fits, or several backbones are left.
    """
    sparse = is_sparse(state)
    if sparse:
        state = to_dense(state)
    naming, found = recognise(state, prefix)
    translated, unknown = to_official(state, naming, found)
    return FoundBackbone(translated, unknown, "FCMAE" if sparse else naming.name, found)


def recognise(state: Mapping[str, Tensor], prefix: str | None = None) -> Match:
    """Finds the naming of a state dict and the prefix of its backbone.

    Returns:
        The naming, and the prefix with its dot (``"module.backbone."``) or "".

    Raises:
        UserError: When no naming fits, or several backbones are left.
    """
    matches = list(_matches(state))
    if prefix is not None:
        start = prefix.rstrip(".") + "."  # of "", the names without a prefix: "."
        matches = [m for m in matches if m[1].startswith(start) or m[1] == start.lstrip(".")]
        if not matches:
            raise UserError(
                f"The file holds no ConvNeXt under the prefix {prefix!r}; its names begin with "
                f"{_count_parts(state)}."
            )
    matches = _without_copies(_without_averages(matches), state)
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(f"{p!r} ({_count(state, p)} tensors)" for _, p in matches)
        raise UserError(
            f"The file holds several ConvNeXt backbones, under the prefixes {shown}: name one by "
            "--weights-prefix (in a config, init_cfg's prefix=)."
        )
    shown = ", ".join(list(state)[:3]) or "no parameters at all"
    raise UserError(
        f"The file holds no ConvNeXt in a known naming ({', '.join(n.name for n in NAMINGS)}); "
        f"its names begin with {_count_parts(state)}; its first names are: {shown}."
    )


def _matches(names: Iterable[str]) -> Iterable[Match]:
    """Every reading: a naming, and the prefix before the first block's convolution."""
    names = list(names)
    for naming in NAMINGS:
        anchor = rename(FIRST_CONV, naming.names)
        for name in names:
            prefix = name.removesuffix(anchor)
            if name.endswith(anchor) and (not prefix or prefix.endswith(".")):
                yield naming, prefix


def _without_averages(matches: list[Match]) -> list[Match]:
    """Leaves out a network where the file also has the one that the method keeps."""
    prefixes = {prefix for _, prefix in matches}

    def is_average(prefix: str) -> bool:
        parts = prefix.split(".")
        return any(
            ".".join(kept if part == average else part for part in parts) in prefixes
            for kept, average in KEPT_OF_TWO
            if average in parts
        )

    return [match for match in matches if not is_average(match[1])]


def _without_copies(matches: list[Match], state: Mapping[str, Tensor]) -> list[Match]:
    """Leaves out a second name of the same network, such as BYOL's ``net.``."""
    kept: list[Match] = []
    for match in sorted(matches, key=lambda match: len(match[1])):
        if not any(_are_equal(state, match[1], other) for _, other in kept):
            kept.append(match)
    return [match for match in matches if match in kept]


def _are_equal(state: Mapping[str, Tensor], one: str, two: str) -> bool:
    inner = [name.removeprefix(one) for name in state if name.startswith(one)]
    if one.startswith(two) or two.startswith(one):
        inner = [name for name in inner if two + name in state]
    return all(
        two + name in state
        and state[one + name].shape == state[two + name].shape
        and torch.equal(state[one + name], state[two + name])
        for name in inner
    )


def _count(names: Iterable[str], prefix: str) -> int:
    return sum(name.startswith(prefix) for name in names)


def _count_parts(names: Iterable[str], shown: int = 8) -> str:
    """The first parts of names with their counts, such as ``encoder. (180), head. (2)``."""
    counts = Counter(name.split(".")[0] + "." for name in names if "." in name)
    more = f" and {len(counts) - shown} more" if len(counts) > shown else ""
    return ", ".join(f"{part} ({n})" for part, n in counts.most_common(shown)) + more or "nothing"
