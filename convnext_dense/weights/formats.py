"""Translation of state dicts between naming schemes, recognised from the names in the file.

The official release's names and shapes are the intermediate form: ``to_official`` translates any
known naming into it, and ``from_official`` translates it into another one.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from convnext_dense.errors import UserError
from convnext_dense.weights.namings import MMPRETRAIN, NAMINGS, TRANSFORMERS, Naming

# Wrappers that training frameworks put around a backbone, in any order.
WRAPPERS = ("module", "model", "backbone", "convnext", "convnextv2")
FIRST_CONV = "stages.0.0.dwconv.weight"


def recognise(names: Iterable[str]) -> tuple[Naming, str]:
    """Finds the naming of a state dict and the prefix of its backbone.

    Returns:
        The naming, and the prefix with its dot (``"module.backbone."``) or "".

    Raises:
        UserError: When no naming fits, or the file has two backbones.
    """
    names = list(names)
    matches = []
    for naming in NAMINGS:
        anchor = rename(FIRST_CONV, naming.names)
        for name in names:
            prefix = name.removesuffix(anchor)
            if name.endswith(anchor) and (not prefix or prefix.endswith(".")):
                matches.append((naming, prefix))
    known = [(naming, p) for naming, p in matches if set(p.split(".")[:-1]) <= set(WRAPPERS)]
    if len(known) == 1:
        return known[0]
    if len(known) > 1:
        raise UserError(
            "The file holds several ConvNeXt backbones, under the prefixes "
            f"{', '.join(repr(p) for _, p in known)}: keep one of them in the file."
        )
    if matches:
        raise UserError(
            f"The file's ConvNeXt parameters begin with {matches[0][1]!r}, which is none of the "
            f"known wrappers ({', '.join(WRAPPERS)}): rename the keys without that prefix."
        )
    shown = ", ".join(names[:3]) or "no parameters at all"
    raise UserError(
        f"The file holds no ConvNeXt in a known naming ({', '.join(n.name for n in NAMINGS)}); "
        f"its first names are: {shown}."
    )


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
    translated = {}
    for name, value in state.items():
        theirs = rename(name, table)
        if theirs is None:
            left_out.setdefault(name, f"{naming.name} has no name for it")
            continue
        outside = theirs.rpartition(".")[0] in naming.outside
        translated[theirs if outside else prefix + theirs] = value.reshape(
            _shape_in(naming, name, value)
        )
    return translated, left_out


def _written_prefix(state: Mapping[str, Tensor], naming: Naming) -> str:
    if naming is MMPRETRAIN:
        return "backbone."
    if naming is TRANSFORMERS and "head.weight" in state:
        return "convnextv2." if any(".grn." in name for name in state) else "convnext."
    return ""


def _shape_in(naming: Naming, name: str, value: Tensor) -> tuple[int, ...]:
    kind = name.split(".", 3)[-1] if name.startswith("stages.") else name
    if kind == "gamma":
        return naming.gamma_shape
    return naming.grn_shape if kind.startswith("grn.") else tuple(value.shape)
