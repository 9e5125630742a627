"""Functions of torch as sessions: a program of ``torch.export``, and what was exported."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.export import operators  # noqa: F401 (the program names them)
from convnext_dense.exported.description import read_description
from convnext_dense.exported.sessions import Arrays, Session


class ModuleSession(Session):
    """A module that maps tensors to tensors, by position.

    Args:
        module: In evaluation mode.
        outputs: Their names, without those that are None.
        device: Of the module.
    """

    def __init__(
        self, module: nn.Module, outputs: Sequence[str], device: str | torch.device = "cpu"
    ) -> None:
        self.name = f"torch {torch.__version__}"
        self.module, self.outputs, self.device = module, outputs, torch.device(device)

    @torch.no_grad()
    def compute(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name."""
        tensors = [torch.from_numpy(array).to(self.device) for array in inputs.values()]
        try:
            outputs = self.module(*tensors)
        except AssertionError as error:
            if not str(error).startswith("Guard failed"):
                raise
            raise UserError(
                f"The program of torch.export does not take images of {tensors[0].shape[2]} x "
                f"{tensors[0].shape[3]} (it asks for {str(error).removeprefix('Guard failed: ')}): "
                "export the model with --to onnx or openvino, which take all sizes."
            ) from error
        found = [output for output in outputs if output is not None]
        return {name: one.cpu().numpy() for name, one in zip(self.outputs, found, strict=True)}


def open_program(path: Path, device: str | None) -> ModuleSession:
    """A program of ``torch.export`` on a device, by default the CPU."""
    device = device or "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch reads weights without copying them
        module = torch.export.load(path).module().to(device)
    return ModuleSession(module, read_description(path.parent).outputs, device)
