"""The architecture of a ConvNeXt, read from its weights."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convnext_dense.errors import UserError

BLOCK = re.compile(r"stages\.(\d)\.(\d+)\.")
STAGES = 4


def architecture_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a :class:`convnext_dense.models.Trunk` that some weights fit into.

    Args:
        state: Parameters by official name.

    Returns:
        ``arch``, ``in_channels``, ``use_grn`` and ``layer_scale_init_value``.

    Raises:
        UserError: For a network without four stages, such as the isotropic one.
    """
    blocks = {(int(m[1]), int(m[2])) for name in state if (m := BLOCK.match(name))}
    stem = state.get("downsample_layers.0.0.weight")
    stages = {stage for stage, _ in blocks}
    if stem is None or stages != set(range(STAGES)):
        raise UserError(
            f"It is a ConvNeXt without a stem and {STAGES} stages, and has "
            f"{len(stages)} stages: it has no feature maps to compare with."
        )
    depths = [sum(stage == i for stage, _ in blocks) for i in range(STAGES)]
    dims = [len(state[f"stages.{i}.0.dwconv.weight"]) for i in range(STAGES)]
    return dict(
        arch=dict(depths=depths, dims=dims),
        in_channels=stem.shape[1],
        use_grn="stages.0.0.grn.gamma" in state,
        layer_scale_init_value=1.0 if "stages.0.0.gamma" in state else 0.0,
    )
