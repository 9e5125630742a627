"""The frozen teacher of a distillation: a ConvNeXt from any file that this project reads."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from convnext_dense.errors import UserError
from convnext_dense.models import Trunk
from convnext_dense.weights import load_pretrained, read_checkpoint
from convnext_dense.weights.architecture import architecture_of
from convnext_dense.weights.loading import find_state_dict
from convnext_dense.weights.recognise import find_backbone


class Teacher:
    """A trained ConvNeXt in eval mode, without gradients.

    It is no module: checkpoints of a distillation hold the student alone, and no optimizer, mode
    or initialisation of a training reaches the teacher.

    Args:
        checkpoint: A file in any known naming, an address, or an official name.
        prefix: Where the backbone lies in a file of several.

    Raises:
        UserError: When the file cannot be read or holds no ConvNeXt.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None) -> None:
        content = read_checkpoint(checkpoint)
        self.network = Trunk(**teacher_architecture(content, checkpoint, prefix))
        try:
            load_pretrained(self.network, content, prefix=prefix)
        except UserError as error:
            raise UserError(f"The teacher {checkpoint} cannot be loaded: {error}") from error
        self.network.eval().requires_grad_(False)

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of its stages."""
        return self.network.dims

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The feature maps of all stages, (N, dims[i], H / strides[i], W / strides[i])."""
        if next(self.network.parameters()).device != images.device:
            self.network.to(images.device)
        with torch.no_grad():
            return list(self.network.stage_maps(images))

    def __deepcopy__(self, memo: dict) -> "Teacher":
        return self  # a copy of the student has the same teacher


def teacher_architecture(
    content: Mapping[str, Any], source: str, prefix: str | None = None
) -> dict[str, Any]:
    """The arguments of the Trunk that fits a checkpoint.

    Raises:
        UserError: When it holds no ConvNeXt of four stages.
    """
    try:
        state, _ = find_state_dict(content, ema=False, prefix=prefix)
        return architecture_of(find_backbone(state, prefix).state)
    except UserError as error:
        raise UserError(f"The teacher {source} is no ConvNeXt that can be read: {error}") from error
