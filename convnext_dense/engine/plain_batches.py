"""A training batch as plain data, for a file that executes nothing, and back."""

import importlib
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from convnext_dense.errors import UserError

# What a batch may hold beside tensors, numbers and text: class -> where it is. A file names the
# class, never the module.
_ELEMENTS = {
    "DetDataSample": "mmdet.structures",
    "SegDataSample": "mmseg.structures",
    "InstanceData": "mmengine.structures",
    "PixelData": "mmengine.structures",
}
_MASKS = {"BitmapMasks": "mmdet.structures.mask", "PolygonMasks": "mmdet.structures.mask"}
_BOXES = {"HorizontalBoxes": "mmdet.structures.bbox"}
KINDS = {**_ELEMENTS, **_MASKS, **_BOXES}
KIND = "kind"


def to_plain(value: Any) -> Any:
    """Turns a collated batch into tensors, numbers, texts, lists and dicts.

    Raises:
        UserError: For something else.
    """
    kind = type(value).__name__
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray):
        return {KIND: "array", "values": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [*map(to_plain, value)] if isinstance(value, list) else (*map(to_plain, value),)
    if isinstance(value, dict):
        return {KIND: "dict", "items": {key: to_plain(part) for key, part in value.items()}}
    if isinstance(value, BaseDataElement) and kind in _ELEMENTS:
        return {
            KIND: kind,
            "metainfo": {key: to_plain(part) for key, part in value.metainfo_items()},
            "fields": {key: to_plain(part) for key, part in value.items()},
        }
    if kind in _MASKS:
        return {KIND: kind, "values": to_plain(value.masks), "size": (value.height, value.width)}
    if kind in _BOXES:
        return {KIND: kind, "values": to_plain(value.tensor)}
    raise UserError(f"A batch with a {kind} cannot be written as plain data.")


def from_plain(value: Any) -> Any:
    """Undoes :func:`to_plain`.

    Raises:
        UserError: For a kind that it does not write.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(from_plain, value))
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind == "dict":
        return {key: from_plain(part) for key, part in value["items"].items()}
    if kind == "array":
        return value["values"].cpu().numpy()
    if kind not in KINDS:
        raise UserError(f"The file holds a batch with a {kind!r}, which is not known here.")
    built = getattr(importlib.import_module(KINDS[kind]), kind)
    if kind in _MASKS:
        return built(from_plain(value["values"]), *value["size"])
    if kind in _BOXES:
        return built(value["values"])
    element = built(metainfo={key: from_plain(part) for key, part in value["metainfo"].items()})
    for name, part in value["fields"].items():
        element.set_field(from_plain(part), name)
    return element


def paths_of(batch: Any) -> list[str]:
    """The files of a batch's images, where it names them."""
    if not isinstance(batch, dict):
        return []
    samples = batch.get("data_samples") or []
    named = (sample.metainfo.get("img_path") for sample in samples)
    return [str(path) for path in (*batch.get("paths", ()), *named) if path]
