"""The report on loading weights: a category for every parameter, and why a file does not fit."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

MIN_SHARE = 0.95


@dataclass(frozen=True)
class LoadReport:
    """The result for every parameter of the model and of the file. Names are the model's.

    Attributes:
        source: The naming of the file (official, timm, ...).
        key: The key of the weights in the file, such as ``"model"``; "" for the file itself.
        loaded: Parameters that have the file's values.
        new_by_design: Output norms that such a file cannot have; they keep their initial values.
        missing: Parameters of the model that the file lacks.
        unexpected: The file's names that the model does not have (untranslated where unknown).
        mismatched: (name, shape in the file, shape in the model) of parameters not loaded.
        ignored_heads: Parts of the file outside the backbone -> number of their parameters.
        share: Loaded share of the backbone's elements, 0 to 1, without heads and new norms.
    """

    source: str
    key: str
    loaded: tuple[str, ...]
    new_by_design: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    ignored_heads: dict[str, int]
    share: float

    def __str__(self) -> str:
        where = f" (key {self.key})" if self.key else ""
        parts = [
            f"Weights in {self.source} naming{where}: {len(self.loaded)} parameters match, "
            f"{self.share:.2%} of the backbone"
        ]
        for title, names in (
            ("new by design", self.new_by_design),
            ("missing in the file", self.missing),
            ("not in the model", self.unexpected),
        ):
            if names:
                parts.append(f"{title}: {_shorten(names)}")
        if self.mismatched:
            shapes = [f"{n} {_shape(a)} for {_shape(b)}" for n, a, b in self.mismatched]
            parts.append(f"of another shape: {_shorten(shapes)}")
        if self.ignored_heads:
            heads = [f"{name} ({count})" for name, count in self.ignored_heads.items()]
            parts.append(f"not part of this model: {_shorten(heads)}")
        return "; ".join(parts) + "."


def make_report(
    state: Mapping[str, Tensor],
    unknown: Iterable[str],
    model: Mapping[str, Tensor],
    source: str,
    key: str,
    prefix: str,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Sorts every name of the model and of the file into the report's categories."""
    fitting = {n: v for n, v in state.items() if n in model and v.shape == model[n].shape}
    absent = [name for name in model if name not in state]
    new = [name for name in absent if re.match(r"norm\d\.", name)]
    surplus = [name for name in state if name not in model]
    heads = [name for name in surplus if _is_head(name)]
    outside = [name for name in unknown if not name.startswith(prefix) or _is_head(name)]
    sizes = {n: v.numel() for n, v in model.items() if not n.startswith("head.") and n not in new}
    report = LoadReport(
        source=source,
        key=key,
        loaded=tuple(fitting),
        new_by_design=tuple(new),
        missing=tuple(name for name in absent if name not in new),
        unexpected=tuple(
            [n for n in surplus if n not in heads] + [n for n in unknown if n not in outside]
        ),
        mismatched=tuple(
            (n, tuple(v.shape), tuple(model[n].shape))
            for n, v in state.items()
            if n in model and n not in fitting
        ),
        ignored_heads=dict(Counter(_part(name, prefix) for name in [*heads, *outside])),
        share=sum(sizes.get(n, 0) for n in fitting) / max(1, sum(sizes.values())),
    )
    return fitting, report


def _is_head(name: str) -> bool:
    return name.split(".")[0] in ("norm", "head", "classifier")


def _part(name: str, prefix: str) -> str:
    """The part of a model that a parameter belongs to: ``neck`` of ``module.neck.convs.0``."""
    for wrapper in prefix.split(".")[:-1]:
        name = name.removeprefix(f"{wrapper}.")
    return name.split(".")[0]


def find_problem(
    report: LoadReport, state: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> str | None:
    """One sentence on why a file does not fit; None where it does."""
    if report.share < MIN_SHARE:
        return f"Only {report.share:.2%} of the backbone's parameters would be loaded."
    built = {m[1] for name in model if (m := re.match(r"stages\.(\d)\.", name))}
    surplus = [
        n for n in report.unexpected if n in state and n.startswith("stages.") and n[7] in built
    ]
    if surplus:
        return (
            f"The file is of another architecture: the model does not have {surplus[0]} and "
            f"{len(surplus) - 1} more block parameters (compare depths, use_grn and "
            "layer_scale_init_value)."
        )
    in_file = {_kind(name) for name in state}
    lacking = sorted({_kind(name) for name in report.missing} - in_file)
    if lacking:
        return f"The file is of another architecture: none of its blocks has {', '.join(lacking)}."
    return None


def _kind(name: str) -> str:
    """The part of a block that a name belongs to, such as ``gamma``; "" outside blocks."""
    return name.split(".", 3)[-1] if name.startswith("stages.") else ""


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _shorten(names: Iterable[str], shown: int = 6) -> str:
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
