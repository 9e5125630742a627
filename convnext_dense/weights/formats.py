"""Translation of state dicts between naming schemes; ``recognise.py`` finds a file's.

The official release's names and shapes are the intermediate form: ``to_official`` translates any
known naming into it, and ``from_official`` translates it into another one.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from convnext_dense.weights.namings import MMPRETRAIN, TRANSFORMERS, Naming

FIRST_CONV = "stages.0.0.dwconv.weight"


def rename(name: str, table: Mapping[str, str]) -> str | None:
    """Looks a name up in a table whose keys have ``*`` for the block's number."""
    if name in table:
        return table[name]
    for number in re.finditer(r"(?<=\.)\d+(?=\.)", name):
        starred = f"{name[: number.start()]}*{name[number.end() :]}"
        if starred in table:
            return table[starred].replace("*", number[0])
    return None


def to_official(
    state: Mapping[str, Tensor], naming: Naming, prefix: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Translates a state dict into the official names and shapes.

    Returns:
        The translated parameters, and the names that this naming does not have.
    """
    back = {theirs: official for official, theirs in naming.names.items()}
    if naming is MMPRETRAIN and _norm3_is_an_output_norm(state, prefix):
        back.update({f"norm3.{p}": f"norm3.{p}" for p in ("weight", "bias")})
    elif naming is MMPRETRAIN:
        back.update({f"norm3.{p}": f"norm.{p}" for p in ("weight", "bias")})
    translated, unknown = {}, []
    for name, value in state.items():
        official = _look_up(name, naming, prefix, back)
        if official is None:
            unknown.append(name)
        else:
            translated[official] = value.reshape(_official_shape(official, value))
    return translated, unknown


def _norm3_is_an_output_norm(state: Mapping[str, Tensor], prefix: str) -> bool:
    return any(f"{prefix}norm{i}.weight" in state for i in (0, 1, 2))


def _look_up(name: str, naming: Naming, prefix: str, back: Mapping[str, str]) -> str | None:
    if name.startswith(prefix) and (official := rename(name.removeprefix(prefix), back)):
        return official
    # Outside the backbone: strip the outer wrappers, one by one, that its prefix has too.
    outer = prefix.split(".")[:-1]
    for depth in range(len(outer)):
        lead = "".join(f"{part}." for part in outer[:depth])
        local = name.removeprefix(lead)
        if name.startswith(lead) and local.rpartition(".")[0] in naming.outside:
            return back.get(local)
    return None


def _official_shape(name: str, value: Tensor) -> tuple[int, ...]:
    kind = name.split(".", 3)[-1] if name.startswith("stages.") else name
    if kind == "gamma":
        return (-1,)
    if kind.startswith("grn."):
        return (1, 1, 1, -1)
    # A 1x1 convolution is a linear layer with two axes of length 1.
    if kind in ("pwconv1.weight", "pwconv2.weight", "head.weight") and value.shape[2:] == (1, 1):
        return tuple(value.shape[:2])
    return tuple(value.shape)


def from_official(
    state: Mapping[str, Tensor], naming: Naming
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Translates official names into another naming, as that library's own files have them.

    Returns:
        The translated parameters, and those that the naming cannot express: name -> reason.
    """
    table, left_out = dict(naming.names), {}
    if naming is MMPRETRAIN:
        outputs = {name.split(".")[0] for name in state if re.match(r"norm\d\.", name)}
        shared = "norm" if outputs - {"norm3"} else "norm3"
        for name in (f"{shared}.weight", f"{shared}.bias"):
            if name in state:
                left_out[name] = "mmpretrain calls the final and the last output norm both norm3"
            table.pop(name)
    prefix = _written_prefix(state, naming)
    as_convs = len(state.get(FIRST_CONV, ())) in naming.conv_mlp_widths
    translated = {}
    for name, value in state.items():
        theirs = rename(name, table)
        if theirs is None:
            left_out.setdefault(name, f"{naming.name} has no name for it")
            continue
        outside = theirs.rpartition(".")[0] in naming.outside
        translated[theirs if outside else prefix + theirs] = value.reshape(
            _shape_in(naming, name, value, as_convs)
        )
    return translated, left_out


def _written_prefix(state: Mapping[str, Tensor], naming: Naming) -> str:
    if naming is MMPRETRAIN:
        return "backbone."
    if naming is TRANSFORMERS and "head.weight" in state:
        return "convnextv2." if any(".grn." in name for name in state) else "convnext."
    return ""


def _shape_in(naming: Naming, name: str, value: Tensor, as_convs: bool) -> tuple[int, ...]:
    kind = name.split(".", 3)[-1] if name.startswith("stages.") else name
    if kind == "gamma":
        return naming.gamma_shape
    if as_convs and kind in ("pwconv1.weight", "pwconv2.weight"):
        return (*value.shape, 1, 1)
    return naming.grn_shape if kind.startswith("grn.") else tuple(value.shape)
