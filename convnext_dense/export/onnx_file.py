"""Writing a model as one ONNX file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convnext_dense.export.exportable import Exportable
from convnext_dense.export.onnx_translation import translations

SCOPES = "name_scopes"  # the exporter's note of the modules that a node comes from
OPSET = 20  # the first with Gelu; LayerNormalization is there since 17


class ByPosition(nn.Module):
    """A module whose outputs are those that are there, without names or None."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: torch.Tensor, sizes: torch.Tensor | None = None) -> tuple:
        """The outputs."""
        found = self.module(pixels) if sizes is None else self.module(pixels, sizes)
        return tuple(output for output in found if output is not None)


def write_onnx(model: Exportable, path: Path, ordered: bool = True) -> None:
    """Exports to ONNX: one graph of standard operators.

    Args:
        model: The model.
        path: File to write; weights of 2 GB and more lie beside it, in ``NAME.data``.
        ordered: The runtime's TopK keeps the order of equal values.
    """
    axes = None
    if model.dynamic:
        dynamic = torch.export.Dim.DYNAMIC
        axes = {name: {axis: dynamic for axis in found} for name, found in model.dynamic.items()}
    with torch.no_grad(), warnings.catch_warnings(), hushed():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            ByPosition(model.module).eval(),
            tuple(model.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=axes,
            input_names=list(model.inputs),
            output_names=list(model.description.outputs),
            custom_translation_table=translations(ordered),
            verbose=False,
        )
        _strip(program.model)
        program.save(path, external_data=_is_large(model.module))


def _strip(model: Any) -> None:
    """Leaves of the exporter's notes the modules alone: others hold paths and lines of code."""
    for node in model.graph.all_nodes():
        for key in [key for key in node.metadata_props if not key.endswith(SCOPES)]:
            del node.metadata_props[key]


def _is_large(module: nn.Module) -> bool:
    """Whether the weights are more than a file of protobuf holds."""
    return sum(value.nbytes for value in module.state_dict().values()) > 1.9e9


@contextmanager
def hushed() -> Iterator[None]:
    """Hides what libraries log on their way: what matters is said once, by us."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
