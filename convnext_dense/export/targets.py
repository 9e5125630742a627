"""What is written for each target: the graph, and what it takes to run it."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from convnext_dense.errors import UserError
from convnext_dense.export.exportable import Exportable
from convnext_dense.export.forms import AS_TRAINED, ONNX_FORM, OPENVINO_FORM, in_form
from convnext_dense.export.onnx_file import ByPosition, write_onnx
from convnext_dense.exported.description import Description
from convnext_dense.exported.sessions import openvino_core

Change = Callable[[Path], None]  # what is done to the ONNX file on the way
BUILD = "build_engine.sh"
ONNX, XML, PT2 = "model.onnx", "model.xml", "model.pt2"
# Of TensorRT's profile: the least side, the sides where a model names none, and images at once.
LEAST, USUAL, BATCH = 32, (800, 1344), 8


def leave(path: Path) -> None:
    """Changes nothing."""


def to_onnx(model: Exportable, folder: Path, half: bool, change: Change = leave) -> Description:
    """``model.onnx``, for onnxruntime and every other runtime of ONNX."""
    # In 8 bits onnxruntime's products take 32-bit results, its convolutions do not.
    write_onnx(in_form(model, ONNX_FORM if change is leave else AS_TRAINED), folder / ONNX)
    change(folder / ONNX)
    if half:
        _halve(folder / ONNX)
    precision = "fp16" if half else "fp32"
    return replace(model.description, target="onnx", graph=ONNX, precision=precision)


def _halve(path: Path) -> None:
    """Weights and layers in 16 bits; boxes, suppression and pooling stay in 32."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    blocked = [*DEFAULT_OP_BLOCK_LIST, "RoiAlign", "NonMaxSuppression", "TopK", "Range"]
    converted = convert_float_to_float16(
        onnx.load(path), keep_io_types=True, op_block_list=blocked, disable_shape_infer=True
    )
    onnx.save(converted, path)


def to_openvino(model: Exportable, folder: Path, half: bool, change: Change = leave) -> Description:
    """``model.xml`` and ``model.bin``, for OpenVINO."""
    openvino = require("openvino", "openvino")
    write_onnx(in_form(model, OPENVINO_FORM), folder / ONNX, ordered=False)
    change(folder / ONNX)
    # Not convert_model: that tool reports its use to the makers of OpenVINO.
    converted = openvino_core().read_model(folder / ONNX)
    openvino.save_model(converted, folder / XML, compress_to_fp16=half)
    for file in folder.glob(f"{ONNX}*"):
        file.unlink()
    precision = "bf16" if half else "fp32"
    return replace(model.description, target="openvino", graph=XML, precision=precision)


def to_torch_export(
    model: Exportable, folder: Path, half: bool, change: Change = leave
) -> Description:
    """``model.pt2``, a program of ``torch.export``, in 32 bits."""
    dynamic = torch.export.Dim.DYNAMIC
    axes = tuple(
        {axis: dynamic for axis in model.dynamic.get(name, ())} or None for name in model.inputs
    )
    with torch.no_grad():
        program = torch.export.export(
            ByPosition(model.module).eval(),  # a program cannot name its outputs
            tuple(model.inputs.values()),
            dynamic_shapes=axes if model.dynamic else None,
        )
    torch.export.save(program, folder / PT2)
    return replace(model.description, target="torch-export", graph=PT2)


def to_tensorrt(model: Exportable, folder: Path, half: bool, change: Change = leave) -> Description:
    """``model.onnx`` and the command that builds an engine of it, on the GPU that will run it."""
    write_onnx(in_form(model, ONNX_FORM), folder / ONNX)
    (folder / BUILD).write_text(_build_command(model, half), "utf-8")
    precision = "fp16" if half else "fp32"
    return replace(model.description, target="tensorrt", graph=ONNX, precision=precision)


def _profile(description: Description) -> list[tuple[str, int, tuple[int, int]]]:
    """The least, the usual and the largest input of an engine: images, height and width."""
    side, resizing = max(LEAST, description.divisor), description.resizing
    only = description.fixed or resizing.crop
    if only is None and resizing.kind == "stretch":
        only = resizing.size[::-1]
    short, long = sorted(-(-edge // side) * side for edge in resizing.size or USUAL)
    sizes = [only] * 3 if only else [(side, side), (short, long), (long, long)]
    return list(zip(("min", "opt", "max"), (1, 1, BATCH), sizes, strict=True))


def _build_command(model: Exportable, half: bool) -> str:
    """A script that calls TensorRT's ``trtexec``."""
    channels, shapes = model.description.channels, []
    if model.dynamic:
        for flag, count, (height, width) in _profile(model.description):
            sizes = f",sizes:{count}x2" if "sizes" in model.inputs else ""
            shapes.append(f"--{flag}Shapes=pixels:{count}x{channels}x{height}x{width}{sizes}")
    words = ["trtexec", f"--onnx={ONNX}", "--saveEngine=model.engine", *shapes]
    words += ["--fp16"] if half else ["--noTF32"]
    return (
        "#!/bin/sh\n"
        "# Builds the engine on the GPU that will run it (TensorRT 10 or later). This was not run\n"
        "# where the model was exported: compare the engine's results with the checkpoint's.\n"
        'cd "$(dirname "$0")" && exec ' + " \\\n    ".join(words) + "\n"
    )


def require(package: str, extra: str):
    """A package that an export needs.

    Raises:
        UserError: Where it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"This export needs {package}, which is not installed: pip install "
            f"'convnext_dense[{extra}]'."
        ) from error


TARGETS: dict[str, Callable[..., Description]] = {
    "onnx": to_onnx,
    "openvino": to_openvino,
    "torch-export": to_torch_export,
    "tensorrt": to_tensorrt,
}
# Package and extra that each needs beside torch.
NEEDS = {
    "onnx": (("onnxscript", "onnx"), ("onnxruntime", "onnx")),
    "openvino": (("onnxscript", "openvino"), ("openvino", "openvino")),
    "torch-export": (),
    "tensorrt": (("onnxscript", "onnx"), ("onnxruntime", "onnx")),
}
