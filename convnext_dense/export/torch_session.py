"""A program of ``torch.export`` as a session."""

from pathlib import Path

import numpy as np
import torch

from convnext_dense.export import operators  # noqa: F401 (the program names them)
from convnext_dense.exported.description import read_description
from convnext_dense.exported.sessions import Arrays, Session


class TorchSession(Session):
    """A program of ``torch.export``, run by torch.

    Args:
        path: File of the program.
        device: By default the CPU.
    """

    def __init__(self, path: Path, device: str | None) -> None:
        self.name = f"torch {torch.__version__}"
        self.device = torch.device(device or "cpu")
        self.outputs = read_description(path.parent).outputs
        self.module = torch.export.load(path).module().to(self.device)

    @torch.no_grad()
    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name."""
        tensors = [torch.from_numpy(array).to(self.device) for array in inputs.values()]
        found = [output for output in self.module(*tensors) if output is not None]
        return {name: one.cpu().numpy() for name, one in zip(self.outputs, found, strict=True)}
