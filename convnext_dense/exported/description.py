"""``model.json``: what an exported model is, what it takes and what it gives.

The file beside the graphs holds plain data alone. It is written by ``convnext-dense export`` and
read here; the fields are those of :class:`Description`.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from convnext_dense.errors import UserError

FILE = "model.json"
FORMAT, VERSION = "convnext_dense.export", 1
TASKS = ("detection", "segmentation", "classification", "backbone")
# What some entries may say.
KNOWN = dict(
    task=TASKS,
    target=("onnx", "openvino", "torch-export", "tensorrt"),
    precision=("fp32", "fp16", "bf16", "int8"),
)
# The first outputs of a graph.
OUTPUTS = {
    "detection": ("boxes", "scores", "labels"),
    "segmentation": ("logits",),
    "classification": ("logits",),
}
KNOWN_OF_RESIZING = dict(
    kind=("inside", "stretch", "short_side", "none"),
    filter=("opencv_linear", "pillow_bicubic", "pillow_bilinear"),
)


@dataclass(frozen=True)
class Resizing:
    """How an image becomes the network's input.

    Attributes:
        kind: ``inside`` (as large as fits into ``size``, whichever way it lies), ``stretch`` (to
            ``size``), ``short_side`` (its short side becomes ``size[0]``) or ``none``.
        size: (long side, short side) of ``inside``, else (width, height), in pixels.
        filter: ``opencv_linear``, or ``pillow_bicubic``, ``pillow_bilinear``.
        crop: (height, width) of the centre that is taken afterwards; None for all of it.
        columns_first: The order of a filter of Pillow's, see
            :func:`convnext_dense.exported.pillow_resize.pillow_resize`.
    """

    kind: str
    size: tuple[int, int] | None = None
    filter: str = "opencv_linear"
    crop: tuple[int, int] | None = None
    columns_first: bool = False


@dataclass(frozen=True)
class Description:
    """An exported model.

    Attributes:
        task: One of :data:`TASKS`.
        target: ``onnx``, ``openvino``, ``torch-export`` or ``tensorrt``.
        graph: File of the graph, beside this one.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        classes: Class names, by label.
        palette: RGB of each class; None for colours far apart.
        channels: Of the images.
        mean: Of each channel, on the scale of 8 bits: what images are padded with.
        resizing: Before the network.
        divisor: Height and width are padded to multiples of it, on the right and below.
        fixed: (height, width) of the only input that the graph takes, with one image; None for any.
        window: Crop (height, width) and stride of the windows a segmentor looks through.
        mask_threshold: From which probability a pixel belongs to an object.
        threshold: From which probability the second of two classes is chosen, where the graph has
            one channel for both.
        value_range: The values that become 0 and 255, of images of more than 8 bits.
        best_thresholds: Score that maximises F1, by class name, where it was measured.
        outputs: Names of the graph's outputs, in order.
        provenance: Checkpoint, versions, command, date, parity.
    """

    task: str
    target: str
    graph: str
    precision: str
    classes: tuple[str, ...]
    channels: int
    mean: tuple[float, ...]
    resizing: Resizing
    outputs: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None
    divisor: int = 1
    fixed: tuple[int, int] | None = None
    window: tuple[tuple[int, int], tuple[int, int]] | None = None
    mask_threshold: float = 0.5
    threshold: float | None = None
    value_range: tuple[float, float] | None = None
    best_thresholds: Mapping[str, float] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``model.json``."""
        return json.dumps(dict(format=FORMAT, version=VERSION, **asdict(self)), indent=1) + "\n"


NEEDED = {
    entry.name
    for entry in fields(Description)
    if entry.default is MISSING and entry.default_factory is MISSING
}


def read_description(folder: Path) -> Description:
    """The description of an exported model.

    Raises:
        UserError: For a file that is missing, damaged, or of a newer version.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        if content.get("format") != FORMAT:
            raise UserError(f"{path} describes no model that was exported by convnext-dense.")
        if not isinstance(content.get("version"), int):
            raise ValueError(f"version is {content.get('version')!r}, no whole number")
        if content["version"] > VERSION:
            raise UserError(
                f"{path} was written by a newer convnext-dense ({content['version']}, this one "
                f"reads {VERSION}): install a newer one."
            )
        known = {entry.name for entry in fields(Description)}
        values = {key: _as_tuples(value) for key, value in content.items() if key in known}
        if lacking := NEEDED - set(values):
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        values["resizing"] = Resizing(**values["resizing"])
        description = Description(**values)
        _check(description)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}): export the model again.") from error
    graph = description.graph
    if Path(graph).name != graph or not (folder / graph).is_file():
        raise UserError(
            f"{folder} lacks {graph}, the graph that its model.json names: copy the "
            "whole folder, or export the model again."
        )
    return description


def _check(description: Description) -> None:
    """Compares entries with what the code knows.

    Raises:
        ValueError: Names the entry.
    """
    resizing = description.resizing
    for owner, known in ((description, KNOWN), (resizing, KNOWN_OF_RESIZING)):
        for name, values in known.items():
            if (value := getattr(owner, name)) not in values:
                raise ValueError(f"{name} is {value!r}, none of {', '.join(values)}")
    outputs = OUTPUTS.get(description.task, ())
    if tuple(description.outputs[: len(outputs)]) != outputs:
        raise ValueError(f"a model of {description.task} has the outputs {', '.join(outputs)}")
    names = description.classes
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"classes is {names!r}, no list of names")
    if not isinstance(description.graph, str) or not description.graph:
        raise ValueError(f"graph is {description.graph!r}, no name of a file")
    if resizing.kind != "none" and not (_is_pair(resizing.size) and min(resizing.size) > 0):
        raise ValueError(f"resizing to {resizing.size}, which is no size")
    for name in ("fixed", "value_range"):
        if (value := getattr(description, name)) is not None and not _is_pair(value):
            raise ValueError(f"{name} is {value!r}, no two numbers")
    if not all(isinstance(value, int | float) for value in description.mean):
        raise ValueError(f"mean is {description.mean!r}, no numbers")
    if len(description.mean) != description.channels:
        raise ValueError(
            f"mean has {len(description.mean)} values for {description.channels} channels"
        )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(number, int | float) for number in value)
    )


def _as_tuples(value: Any) -> Any:
    """Lists of JSON as tuples."""
    if isinstance(value, list):
        return tuple(map(_as_tuples, value))
    if isinstance(value, dict):
        return {key: _as_tuples(entry) for key, entry in value.items()}
    return value
