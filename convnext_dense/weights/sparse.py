"""FCMAE's pretraining files: a ConvNeXt V2 of sparse convolutions, as MinkowskiEngine keeps them.

The encoder's layers compute what dense ones do, and only their parameters are stored differently.
The rule is ``remap_checkpoint_keys`` of facebookresearch/ConvNeXt-V2 (utils.py).
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor

KERNEL = ".kernel"


def is_sparse(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has sparse depthwise convolutions."""
    return any(name.endswith(f".dwconv{KERNEL}") for name in state)


def to_dense(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives sparse layers the names and shapes of dense ones, values unchanged.

    ``kernel`` (positions, [in,] out) becomes ``weight`` (out, in or 1, side, side), positions
    counting the first axis fastest; ``norm.ln`` and ``pwconv1.linear`` lose their inner name; a
    bias (1, out) becomes (out,).
    """
    dense = {}
    for name, value in state.items():
        if name.endswith(KERNEL):
            dense[name.removesuffix(KERNEL) + ".weight"] = _to_weight(value)
            continue
        name = re.sub(r"\.(?:ln|linear)(\.(?:weight|bias))$", r"\1", name)
        dense[name] = value.reshape(-1) if name.endswith(".bias") else value
    return dense


def _to_weight(kernel: Tensor) -> Tensor:
    side = math.isqrt(kernel.shape[0])
    if kernel.ndim == 2:  # depthwise
        kernel = kernel[:, None]
    _, inputs, outputs = kernel.shape
    return kernel.permute(2, 1, 0).reshape(outputs, inputs, side, side).transpose(3, 2)
