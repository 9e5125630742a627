"""Converting a checkpoint to another library's names, bit for bit, with a list of omissions."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convnext_dense.atomic_files import replacing
from convnext_dense.errors import UserError
from convnext_dense.weights.formats import from_official
from convnext_dense.weights.loading import find_state_dict
from convnext_dense.weights.namings import TARGETS
from convnext_dense.weights.reading import read_checkpoint
from convnext_dense.weights.recognise import find_backbone
from convnext_dense.weights.saving import write_safetensors

# The key of the state dict in each library's files; other libraries have no such key.
FILE_KEYS = {"official": "model", "ours": "state_dict", "mmpretrain": "state_dict"}


@dataclass(frozen=True)
class Conversion:
    """A translated state dict.

    Attributes:
        state_dict: The parameters in the target's names and shapes.
        source: The recognised naming.
        target: The requested naming.
        left_out: Name in the source -> the reason why the target does not have it.
    """

    state_dict: dict[str, Tensor]
    source: str
    target: str
    left_out: dict[str, str]

    def __str__(self) -> str:
        elements = sum(value.numel() for value in self.state_dict.values())
        text = (
            f"Translated {len(self.state_dict)} tensors ({elements:,} elements) from {self.source} "
            f"to {self.target} naming"
        )
        for reason, count in Counter(self.left_out.values()).items():
            names = [name for name, why in self.left_out.items() if why == reason]
            more = ", ..." if count > 6 else ""
            text += f"; left out {count} ({reason}): {', '.join(names[:6])}{more}"
        return text + "."


def convert(state_dict: Mapping[str, Tensor], to: str, prefix: str | None = None) -> Conversion:
    """Translates a state dict of any known naming, values unchanged.

    Args:
        state_dict: Tensors by name, with or without wrappers such as ``module.`` and ``backbone.``.
        to: A name in ``TARGETS``.
        prefix: Where the backbone lies in a file that has several.

    Raises:
        UserError: For an unknown target, and a file without a ConvNeXt or with several.
    """
    if to not in TARGETS:
        raise UserError(f"Unknown naming {to!r}: choose one of {', '.join(TARGETS)}.")
    found = find_backbone(state_dict, prefix)
    stem_norm = found.state.get("downsample_layers.0.1.weight")
    if stem_norm is None or stem_norm.ndim != 1:  # timm's `_ols` variants have two convolutions
        raise UserError(
            "The file is of another architecture: its stem is not a convolution and a norm, and no "
            "other library has names for its layers."
        )
    translated, left_out = from_official(found.state, TARGETS[to])
    for name in found.unknown:
        left_out[name] = "not a part of the backbone or its classifier"
    return Conversion(translated, found.naming, to, left_out)


def convert_file(
    source: str | Path,
    target: str | Path,
    to: str,
    *,
    ema: bool = False,
    force: bool = False,
    prefix: str | None = None,
) -> Conversion:
    """Translates a checkpoint file; the new file is written completely or not at all.

    Args:
        source: A file, an https address or the name of an official file.
        target: A path that ends in .pth, .pt or .safetensors.
        to: A name in ``TARGETS``.
        ema: Take the averaged weights of a file that has both.
        force: Replace an existing target.
        prefix: Where the backbone lies in a file that has several.

    Raises:
        UserError: When the source cannot be read or translated, or the target cannot be written.
    """
    target = Path(target).expanduser()
    if target.suffix not in (".pth", ".pt", ".safetensors"):
        raise UserError(f"{target} must end in .pth, .pt or .safetensors.")
    if target.exists() and not force:
        raise UserError(f"{target} exists already: choose another name, or replace it by --force.")
    if not target.parent.is_dir():
        raise UserError(f"The folder {target.parent} does not exist: create it first.")
    state, _ = find_state_dict(read_checkpoint(source), ema, prefix)
    conversion = convert(state, to, prefix)
    _write(conversion, target)
    return conversion


def _write(conversion: Conversion, target: Path) -> None:
    try:
        if target.suffix == ".safetensors":
            write_safetensors(target, conversion.state_dict, {})
            return
        # Views of one storage would be written whole: they are copied.
        state = {name: value.clone().contiguous() for name, value in conversion.state_dict.items()}
        key = FILE_KEYS.get(conversion.target)
        with replacing(target) as temporary:
            torch.save({key: state} if key else state, temporary)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError
        raise UserError(f"{target} cannot be written: {error}") from error
