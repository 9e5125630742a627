"""The largest images that a config trains on, read from the steps of its pipelines."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError

GRID = 32  # pixels: the largest stride of a backbone
Size = tuple[int, int]  # height and width of a landscape image
Step = Mapping[str, Any]


@dataclass(frozen=True)
class _Bound:
    """What is known of the images after some steps: at most this size, in one orientation or both.

    Attributes:
        size: None where no step has bounded it.
        turned: Whether portraits are as tall as landscapes are wide.
    """

    size: Size | None = None
    turned: bool = False


def largest_images(cfg: Config, multiple: int | None = None) -> Size:
    """Height and width of the largest batch of training images, padding included.

    Args:
        cfg: A config that was fitted to its data.
        multiple: Pixels to whose multiples a run pads (``--shape-buckets``); None: the config's.

    Raises:
        UserError: Where no step of the pipeline bounds the size.
    """
    padding = cfg.model.get("data_preprocessor") or {}
    if padding.get("size"):
        return _pair(padding["size"])
    loader = cfg.train_dataloader
    bounds = [bound for bound in _bounds_of_datasets(loader.dataset) if bound.size]
    if not bounds:
        raise UserError(
            "--fit-memory cannot tell how large the training images are: no step of the pipeline "
            "bounds their size. Add one (Resize, RandomCrop), or leave --fit-memory out."
        )
    height, width = _largest(bound.size for bound in bounds)
    grouped = "AspectRatioBatchSampler" in str((loader.get("batch_sampler") or {}).get("type"))
    if any(bound.turned for bound in bounds) and not grouped:
        height = width = max(height, width)  # landscapes and portraits in one batch
    for augment in padding.get("batch_augments") or []:
        if sizes := augment.get("random_size_range") or augment.get("size"):
            height, width = _largest([(height, width), _pair(max(sizes))])
    divisor = multiple or padding.get("pad_size_divisor") or padding.get("size_divisor") or 1
    return tuple(math.ceil(side / divisor) * divisor for side in (height, width))


def _bounds_of_datasets(dataset: Any) -> list[_Bound]:
    """The bound of every pipeline of a dataset, and those of datasets of ours (``transform``)."""
    bounds = []
    for node in walk(dataset):
        if isinstance(node.get("pipeline"), list):
            bounds.append(_after(node["pipeline"], _Bound()))
        elif "size" in (node.get("transform") or {}):
            bounds.append(_Bound(_pair(node["transform"]["size"])))
    return bounds


def _after(steps: Iterable[Step], bound: _Bound) -> _Bound:
    for step in steps:
        change = CHANGES.get(str(step.get("type")).split(".")[-1])
        bound = change(step, bound) if change else bound
    return bound


def _resize(step: Step, bound: _Bound) -> _Bound:
    """Resize, RandomResize, RandomChoiceResize: the largest scale that may be drawn."""
    scales = step.get("scales") or step.get("scale")
    if scales is None:
        return bound  # by a factor
    scales = [scales] if isinstance(scales, int) or isinstance(scales[0], int | float) else scales
    keeps = step.get("keep_ratio") or (step.get("resize_cfg") or {}).get("keep_ratio", False)
    ratio = max(step.get("ratio_range") or [1])
    sizes = [_pair(scale) for scale in scales]
    # A scale is (width, height); an image that keeps its ratio fits into it lengthwise.
    sizes = [(min(size), max(size)) if keeps else size[::-1] for size in sizes]
    height, width = _largest(sizes)
    size = math.ceil(height * ratio), math.ceil(width * ratio)
    return _Bound(size, turned=bool(keeps) and height != width)


def _crop(step: Step, bound: _Bound) -> _Bound:
    """RandomCrop: at most the crop."""
    kind = step.get("crop_type", "absolute")
    if kind.startswith("relative"):
        return bound
    crop = _pair(step["crop_size"])
    if kind == "absolute_range":
        crop = (max(crop), max(crop))
    if bound.size is None:
        return _Bound(crop)
    longest = max(bound.size)
    turned = bound.turned and crop[0] == crop[1]
    if bound.turned and crop[0] != crop[1]:
        return _Bound((min(longest, crop[0]), min(longest, crop[1])))
    return _Bound((min(bound.size[0], crop[0]), min(bound.size[1], crop[1])), turned)


def _pad(step: Step, bound: _Bound) -> _Bound:
    """Pad: at least its size."""
    if step.get("size") is None:
        return bound
    size = _pair(step["size"])[::-1]
    return _Bound(_largest([size, bound.size or size]), bound.turned)


def _choice(step: Step, bound: _Bound) -> _Bound:
    """RandomChoice: the largest of its branches."""
    return _joined([_after(branch, bound) for branch in step["transforms"]])


def _apply(step: Step, bound: _Bound) -> _Bound:
    """RandomApply: with the steps, or without."""
    return _joined([bound, _after(step["transforms"], bound)])


def _mosaic(step: Step, bound: _Bound) -> _Bound:
    """Mosaic of mmdet: four images of its scale."""
    height, width = _pair(step.get("img_scale", 640))[::-1]
    return _Bound((2 * height, 2 * width))


def _affine(step: Step, bound: _Bound) -> _Bound:
    """RandomAffine: its border, negative where a mosaic's middle is kept."""
    if bound.size is None:
        return bound
    added = _pair(step.get("border", 0))[::-1]
    size = tuple(side + 2 * more for side, more in zip(bound.size, added, strict=True))
    return _Bound(size, bound.turned)


CHANGES: dict[str, Callable[[Step, _Bound], _Bound]] = {
    "Resize": _resize,
    "RandomResize": _resize,
    "RandomChoiceResize": _resize,
    "RandomCrop": _crop,
    "Pad": _pad,
    "RandomChoice": _choice,
    "RandomApply": _apply,
    "Mosaic": _mosaic,
    "CachedMosaic": _mosaic,
    "RandomAffine": _affine,
}


def _joined(bounds: list[_Bound]) -> _Bound:
    known = [bound.size for bound in bounds if bound.size]
    if not known:
        return _Bound()
    return _Bound(_largest(known), any(bound.turned for bound in bounds))


def _largest(sizes: Iterable[Size]) -> Size:
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)


def _pair(value: Any) -> Size:
    return (value, value) if isinstance(value, int | float) else (value[0], value[1])
