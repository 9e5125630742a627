"""Post-training quantisation: 8-bit weights for each channel, activations by calibration images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from convnext_dense.data.image_scan import evenly_spaced
from convnext_dense.data.images import find_images, read_image
from convnext_dense.export.onnx_file import SCOPES, hushed
from convnext_dense.exported.description import Description
from convnext_dense.exported.preparation import prepare

QUANTISED = ("MatMul", "Gemm", "Conv")
MOST_IMAGES = 32  # more of them hardly change the ranges
GREATEST_LOSS = 0.01  # of AP, mIoU or accuracy


@dataclass(frozen=True)
class Choice:
    """Which layers are quantised.

    Attributes:
        name: In words.
        heads: What follows the backbone too.
        first_stage: The first stage of the backbone too.
    """

    name: str
    heads: bool = True
    first_stage: bool = True


# From the fastest; the first whose loss is small is taken.
CHOICES = (
    Choice("all products and the heads' convolutions but the last ones"),
    Choice("the backbone's layers", heads=False),
    Choice("the backbone's layers behind the first stage", heads=False, first_stage=False),
)


def calibration_images(folder: str, description: Description) -> list[dict[str, np.ndarray]]:
    """The inputs of the graph for images of a folder, one image each.

    Raises:
        UserError: For a folder without images.
    """
    found = find_images(folder)
    inputs = []
    for place in evenly_spaced(len(found), MOST_IMAGES):
        image = read_image(found[place])
        colours = image[..., ::-1] if image.shape[-1] == 3 else image
        ready = prepare(np.ascontiguousarray(colours), str(found[place]), description)
        arrays = {"pixels": ready.pixels[None]}
        if description.task == "detection":
            arrays["sizes"] = np.array([ready.size], np.float32)
        inputs.append(arrays)
    return inputs


def quantise(path: Path, choice: Choice, images: Sequence[dict[str, np.ndarray]]) -> None:
    """Quantises an ONNX file in place.

    Args:
        path: The file.
        choice: Which layers.
        images: Of :func:`calibration_images`.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.images: Iterator[dict[str, np.ndarray]] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.images, None)

    model = onnx.load(path)
    kept = [node.name for node in model.graph.node if _stays(node, model, choice)]
    quantised = path.with_suffix(".int8.onnx")
    with hushed():  # its advice is for graphs of other exporters
        quantize_static(
            model,
            quantised,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # Results stay in 32 bits, for GELU, sums and norms to read: faster and more exact.
            extra_options={"OpTypesToExcludeOutputQuantization": list(QUANTISED)},
            use_external_data_format=False,
        )
    quantised.replace(path)


def _stays(node: onnx.NodeProto, model: onnx.ModelProto, choice: Choice) -> bool:
    """Whether a node keeps its 32 bits."""
    if node.op_type not in QUANTISED:
        return False
    scope = _scope(node)
    in_backbone = "backbone" in scope
    if node.op_type == "Conv" and in_backbone and not _is_product(node):
        return True
    if not in_backbone and (not choice.heads or _is_last(node, model)):
        return True
    return "backbone.stages.0" in scope and not choice.first_stage


def _is_product(node: onnx.NodeProto) -> bool:
    """Whether a convolution is 1 x 1.

    The others are a small part of a backbone, and OpenVINO 2026.4 computes those of 2 x 2 wrongly
    in 8 bits where their results stay in 32.
    """
    return any(entry.name == "kernel_shape" and set(entry.ints) == {1} for entry in node.attribute)


def _scope(node: onnx.NodeProto) -> str:
    """The module that a node comes from, as the exporter noted it."""
    for entry in node.metadata_props:
        if entry.key.endswith(SCOPES):
            return entry.value
    return node.name


def _is_last(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether no other layer with weights follows: scores, deltas and masks come from it."""
    readers: dict[str, list[Any]] = {}
    for other in model.graph.node:
        for name in other.input:
            readers.setdefault(name, []).append(other)
    waiting, seen = list(node.output), set()
    while waiting:
        for reader in readers.get(waiting.pop(), ()):
            if id(reader) in seen:
                continue
            seen.add(id(reader))
            if reader.op_type in (*QUANTISED, "ConvTranspose"):
                return False
            if reader.op_type in ("RoiAlign", "NonMaxSuppression"):
                continue
            waiting += reader.output
    return True
