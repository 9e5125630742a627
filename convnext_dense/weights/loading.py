"""Pretrained weights for a model, from any known file, with a report on every parameter."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.weights.formats import recognise, to_official
from convnext_dense.weights.reading import read_checkpoint

MIN_SHARE = 0.95
# Keys of (final weights, averaged weights) in files. mmengine's EMAHook swaps the two when saving:
# its `state_dict` has the average, its `ema_state_dict` the final weights.
EMA_PAIRS = (
    ("ema_state_dict", "state_dict"),
    ("model", "model_ema"),
    ("state_dict", "state_dict_ema"),
)
NESTS = ("model", "state_dict", "module", "model_ema", "state_dict_ema")


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


def load_pretrained(
    module: nn.Module,
    checkpoint: str | Path | Mapping[str, Any],
    *,
    sha256: str | None = None,
    ema: bool = False,
    final_norm_to_norm3: bool = False,
    allow_partial: bool = False,
) -> LoadReport:
    """Loads a ConvNeXt's weights from a file in any known naming, and reports on them.

    Nothing is loaded when an error is raised.

    Args:
        module: A model with the official release's parameter names: the dense backbone, or a
            classifier with ``norm`` and ``head``.
        checkpoint: A path, an https address, the name of an official file, or a
            result of :func:`read_checkpoint`.
        sha256: The hash that the file must have.
        ema: Take the averaged weights of a file that has both; the paper's downstream tasks start
            from the final ones (appendix A.3).
        final_norm_to_norm3: Put the classifier's final norm into ``norm3``. The release does not:
            its dense models start with fresh output norms.
        allow_partial: Accept less than 95 % of the backbone, or a file of another architecture.

    Raises:
        UserError: When the file cannot be read or recognised, or does not fit the model; the
            message contains the report.
    """
    fitting, report = match_pretrained(
        module,
        checkpoint,
        sha256=sha256,
        ema=ema,
        final_norm_to_norm3=final_norm_to_norm3,
        allow_partial=allow_partial,
    )
    module.load_state_dict(fitting, strict=False)
    return report


def match_pretrained(
    module: nn.Module,
    checkpoint: str | Path | Mapping[str, Any],
    *,
    sha256: str | None = None,
    ema: bool = False,
    final_norm_to_norm3: bool = False,
    allow_partial: bool = False,
) -> tuple[dict[str, Tensor], LoadReport]:
    """As :func:`load_pretrained`, without loading: the parameters that fit, and the report.

    Raises:
        UserError: As there.
    """
    if not isinstance(checkpoint, Mapping):
        checkpoint = read_checkpoint(checkpoint, sha256=sha256)
    state, key = find_state_dict(checkpoint, ema)
    naming, prefix = recognise(state)
    translated, unknown = to_official(state, naming, prefix)
    model = module.state_dict()
    if final_norm_to_norm3:
        translated = _move_final_norm(translated, model)
    fitting, report = _make_report(translated, unknown, model, naming.name, key, prefix)
    problem = _problem(report, translated, model)
    if problem and not allow_partial:
        raise UserError(
            f"{problem} Nothing was loaded. {report} To load what matches, give allow_partial=True."
        )
    return fitting, report


def find_state_dict(checkpoint: Mapping[str, Any], ema: bool) -> tuple[dict[str, Tensor], str]:
    """Finds the parameters in a checkpoint, however deep a framework nested them.

    Returns:
        The tensors by name, and the keys that lead there, joined by dots.

    Raises:
        UserError: When there are none, or ``ema`` is given for a file without averaged weights.
    """
    keys: list[str] = []
    for final, average in EMA_PAIRS:
        if _is_state(checkpoint.get(final)) and _is_state(checkpoint.get(average)):
            keys.append(average if ema else final)
            checkpoint = checkpoint[keys[0]]
            break
    else:
        if ema:
            raise UserError("The file has no averaged (EMA) weights: load it without ema=True.")
    while (key := next((k for k in NESTS if _is_state(checkpoint.get(k))), None)) is not None:
        keys.append(key)
        checkpoint = checkpoint[key]
    tensors = {k: v for k, v in checkpoint.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        shown = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise UserError(f"The file holds no parameters under a known key; it holds {shown}.")
    return tensors, ".".join(keys)


def _is_state(value: Any) -> bool:
    """True for a dict with parameters in it, at any depth of nesting."""
    return isinstance(value, Mapping) and (
        any(isinstance(item, Tensor) for item in value.values())
        or any(_is_state(value.get(key)) for key in NESTS)
    )


def _move_final_norm(state: dict[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if "norm3.weight" not in model:
        raise UserError("final_norm_to_norm3 needs a model that emits its last stage (norm3).")
    if "norm.weight" not in state or "norm3.weight" in state:
        raise UserError(
            "final_norm_to_norm3 needs a classifier's file: this one has no final norm or has "
            "norm3 itself. Load it without that option."
        )
    return {re.sub(r"^norm\.", "norm3.", name): value for name, value in state.items()}


def _make_report(
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


def _problem(
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
