"""Modules of torch as graphs in onnxruntime and OpenVINO."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convnext_dense.export.onnx_file import OPSET, hushed
from convnext_dense.export.onnx_translation import translations
from convnext_dense.exported.sessions import Session, open_session


def translate(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, dict],
    folder: Path,
    ordered: bool = True,
) -> list[Session]:
    """The module in both runtimes; ``axes`` are the dimensions that may have any length."""
    path = folder / "model.onnx"
    with torch.no_grad(), hushed():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["found"],
            dynamic_shapes=tuple(axes[name] for name in inputs),
            custom_translation_table=translations(ordered),
            verbose=False,
        )
    program.save(path)
    return [open_session(path, target, half=False) for target in ("onnx", "openvino")]


def results(sessions: Sequence[Session], inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
    """What each session gives."""
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    return [session.run(arrays)["found"] for session in sessions]
