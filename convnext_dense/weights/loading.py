"""Pretrained weights for a model, from any known file, with a report on every parameter."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.weights.load_report import LoadReport, find_problem, make_report
from convnext_dense.weights.reading import read_checkpoint
from convnext_dense.weights.recognise import find_backbone
from convnext_dense.weights.stem import fit_stem

# Keys of (final weights, averaged weights) in files. mmengine's EMAHook swaps the two when saving:
# its `state_dict` has the average, its `ema_state_dict` the final weights.
EMA_PAIRS = (
    ("ema_state_dict", "state_dict"),
    ("model", "model_ema"),
    ("state_dict", "state_dict_ema"),
)
NESTS = (
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "network",
    "model_ema",
    "state_dict_ema",
)
# Modules that torch puts around others (compile, FSDP, recomputation), anywhere in a name.
TRANSPARENT = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


def load_pretrained(
    module: nn.Module,
    checkpoint: str | Path | Mapping[str, Any],
    *,
    sha256: str | None = None,
    ema: bool = False,
    final_norm_to_norm3: bool = False,
    allow_partial: bool = False,
    prefix: str | None = None,
) -> LoadReport:
    """Loads a ConvNeXt's weights from a file in any known naming, and reports on them.

    The stem of a file for grey or RGB images is fitted to the module's channels (see
    :func:`convnext_dense.weights.stem.fit_stem`), which the report says.

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
        prefix: Where the backbone lies in a file that has several, such as ``"teacher.backbone"``
            (``--weights-prefix``).

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
        prefix=prefix,
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
    prefix: str | None = None,
) -> tuple[dict[str, Tensor], LoadReport]:
    """As :func:`load_pretrained`, without loading: the parameters that fit, and the report.

    Raises:
        UserError: As there.
    """
    if not isinstance(checkpoint, Mapping):
        checkpoint = read_checkpoint(checkpoint, sha256=sha256)
    state, key = find_state_dict(checkpoint, ema, prefix)
    found = find_backbone(state, prefix)
    model = module.state_dict()
    translated, fitted_stem = fit_stem(found.state, model)
    if final_norm_to_norm3:
        translated = _move_final_norm(translated, model)
    found = replace(found, state=translated)
    fitting, report = make_report(found, model, key, fitted_stem)
    problem = find_problem(report, translated, model)
    if problem and not allow_partial:
        raise UserError(
            f"{problem} Nothing was loaded. {report} To load what matches, give allow_partial=True."
        )
    return fitting, report


def find_state_dict(
    checkpoint: Mapping[str, Any], ema: bool, prefix: str | None = None
) -> tuple[dict[str, Tensor], str]:
    """Finds the parameters in a checkpoint, however deep a framework nested them.

    Dicts under other keys, such as DINO's ``student`` and ``teacher``, become parts of the names.
    So does every key where a prefix is given that begins with it.

    Returns:
        The tensors by name, without the names of torch's own wrappers, and the keys that lead
        there, joined by dots.

    Raises:
        UserError: When there are none, or ``ema`` is given for a file without averaged weights.
    """
    whole, keys = checkpoint, []
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
    tensors = _flatten(checkpoint)
    if prefix and not any(name.startswith(prefix) for name in tensors):
        with_keys = _flatten(whole)
        if any(name.startswith(prefix) for name in with_keys):
            tensors, keys = with_keys, []
    if not tensors:
        shown = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise UserError(f"The file holds no parameters under a known key; it holds {shown}.")
    return tensors, ".".join(keys)


def _flatten(content: Mapping[str, Any], start: str = "") -> dict[str, Tensor]:
    """The tensors of nested dicts by their keys, joined by dots."""
    tensors = {}
    for key, value in content.items():
        if not isinstance(key, str):  # an optimizer's state counts the parameters
            continue
        if isinstance(value, Tensor):
            tensors[TRANSPARENT.sub("", start + key)] = value
        elif isinstance(value, Mapping):
            tensors.update(_flatten(value, f"{start}{key}."))
    return tensors


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
