"""The report on loading weights: a category for every parameter, and why a file does not fit."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from convnext_dense.weights.recognise import FoundBackbone

MIN_SHARE = 0.95


@dataclass(frozen=True)
class LoadReport:
    """The result for every parameter of the model and of the file. Names are the model's.

    Attributes:
        source: The naming of the file (official, timm, ...).
        key: The key of the weights in the file, such as ``"model"``; "" for the file itself.
        loaded: Parameters that have the file's values.
        new_by_design: Norms that such a file cannot have (output norms, of a file without a
            classifier the final one); they keep their initial values.
        missing: Parameters of the model that the file lacks.
        unexpected: The file's names that the model does not have (untranslated where unknown).
        mismatched: (name, shape in the file, shape in the model) of parameters not loaded.
        ignored_heads: Parts of the file outside the backbone -> number of their parameters.
        share: Loaded share of the backbone's elements, 0 to 1, without heads and new norms.
        prefix: What stands before the backbone's names in the file, with its dot, or "".
        fitted_stem: How the stem was fitted to the model's input channels; "" where it was not.
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
    prefix: str = ""
    fitted_stem: str = ""

    def __str__(self) -> str:
        places = [f"key {self.key}"] * bool(self.key) + [f"prefix {self.prefix}"] * bool(
            self.prefix
        )
        where = f" ({', '.join(places)})" if places else ""
        parts = [
            f"Weights in {self.source} naming{where}: {len(self.loaded)} parameters match, "
            f"{self.share:.2%} of the backbone"
        ]
        if self.fitted_stem:
            parts.append(self.fitted_stem)
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
    found: FoundBackbone, model: Mapping[str, Tensor], key: str, fitted_stem: str
) -> tuple[dict[str, Tensor], LoadReport]:
    """Sorts every name of the model and of the file into the report's categories."""
    state, unknown, prefix = found.state, found.unknown, found.prefix
    fitting = {n: v for n, v in state.items() if n in model and v.shape == model[n].shape}
    absent = [name for name in model if name not in state]
    surplus = [name for name in state if name not in model]
    heads = [name for name in surplus if _is_head(name)]
    own = [n for n in unknown if n.startswith(prefix)]
    inner = [n for n in own if not _is_head(n.removeprefix(prefix))]
    if "head.weight" in model:  # a hidden layer of a head matters to a classifier
        inner += [n for n in own if n.removeprefix(prefix).startswith("head.")]
    outside = [n for n in unknown if n not in inner]
    has_classifier = "head.weight" in state or any(_is_head(n.removeprefix(prefix)) for n in own)
    kinds = r"norm\d\." if has_classifier else r"norm\d?\."
    new = [name for name in absent if re.match(kinds, name)]
    sizes = {n: v.numel() for n, v in model.items() if not n.startswith("head.") and n not in new}
    report = LoadReport(
        source=found.naming,
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
        prefix=prefix,
        fitted_stem=fitted_stem,
    )
    return fitting, report


def _is_head(name: str) -> bool:
    # norms: a second name of the final norm in DINOv3's own files.
    return name.split(".")[0] in ("norm", "norm_pre", "norms", "head", "classifier")


def _part(name: str, prefix: str) -> str:
    """The part of a model that a parameter belongs to: ``neck`` of ``module.neck.convs.0``."""
    for wrapper in prefix.split(".")[:-1]:
        name = name.removeprefix(f"{wrapper}.")
    return name.split(".")[0]


def find_problem(
    report: LoadReport, state: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> str | None:
    """One sentence on why a file does not fit; None where it does.

    A share alone decides nothing: a stem of two layers, or norms without a bias, are less than a
    thousandth of the parameters, and the network around them computes something else.
    """
    if report.share < MIN_SHARE:
        return f"Only {report.share:.2%} of the backbone's parameters would be loaded."
    reason = (
        _surplus_blocks(report, state, model) or _odd_layers(report) or _odd_blocks(report, state)
    )
    return f"The file is of another architecture: {reason}." if reason else None


def _surplus_blocks(
    report: LoadReport, state: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> str | None:
    built = {m[1] for name in model if (m := re.match(r"stages\.(\d)\.", name))}
    surplus = [
        n for n in report.unexpected if n in state and n.startswith("stages.") and n[7] in built
    ]
    if not surplus:
        return None
    return (
        f"the model does not have {surplus[0]} and {len(surplus) - 1} more block parameters "
        "(compare depths, use_grn and layer_scale_init_value)"
    )


# Layers that a network has once, by the start of their names.
SINGLE_LAYERS = {
    "downsample_layers.0.": "stem",
    "downsample_layers.": "downsampling",
    "norm.": "final norm",
}


def _odd_layers(report: LoadReport) -> str | None:
    """What differs in a stem, in downsampling or in a classifier's final norm and head."""
    shapes = {n: f" ({_shape(theirs)} for {_shape(own)})" for n, theirs, own in report.mismatched}
    for start, layer in SINGLE_LAYERS.items():
        odd = [n for n in (*shapes, *report.missing) if n.startswith(start)]
        if odd:
            named = [f"{n}{shapes.get(n, ' (missing)')}" for n in odd]
            return f"its {layer} differs: {_shorten(named, 2)}"
    start = f"{report.prefix}head."
    hidden = [n for n in report.unexpected if n.startswith(start)]
    if hidden and "head.weight" in report.loaded:
        return f"its head has layers that the model's lacks: {', '.join(hidden)}"
    return None


def _odd_blocks(report: LoadReport, state: Mapping[str, Tensor]) -> str | None:
    """A part that no block of the file has, or has in the model's shape."""
    loaded = {_kind(name) for name in report.loaded}
    lacking = sorted({_kind(name) for name in report.missing} - {_kind(name) for name in state})
    if lacking:
        return f"none of its blocks has {', '.join(lacking)}"
    reshaped = [m for m in report.mismatched if (kind := _kind(m[0])) and kind not in loaded]
    if reshaped:
        name, theirs, own = reshaped[0]
        return f"{name} is {_shape(theirs)}, the model's {_shape(own)}, and so in all blocks"
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
