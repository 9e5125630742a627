"""A stock model with our backbone: what reads feature maps is told their channels, by rule.

A part that reads them lies beside its backbone in the config. Channels are measured, first behind
the stock backbone and ours, then behind the first part that reads them all (the neck), and each
number that named the old channels of a level is replaced by the new one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import Registry

from convnext_dense.benchmark.stock.families import nodes
from convnext_dense.errors import UserError
from convnext_dense.models.unread_maps import drop_unread_maps

ARCH = "atto"
STRIDES = (4, 8, 16, 32)
Shapes = list[tuple[int, int]]  # channels, and height and width in pixels, of each level


def fit_our_backbone(model: dict, registry: Registry, size: int, **options: Any) -> dict:
    """Replaces every backbone of a model's config, in place.

    Args:
        model: The config, as :func:`families.made_small` gives it.
        registry: The toolbox's ``MODELS``.
        size: Height and width of the images that channels are measured on.
        options: Of the backbone.

    Raises:
        UserError: If the model has no backbone, or one whose levels ours does not have.
    """
    owners = [node for node in nodes(model) if "type" in (node.get("backbone") or {})]
    if not owners:
        raise UserError("its config names no backbone of the toolbox")
    for owner in owners:
        fit_owner(owner, registry, size)
        owner["backbone"].update(options)
    drop_unread_maps(model)
    return model


def fit_owner(owner: dict, registry: Registry, size: int) -> None:
    """Replaces the backbone of one node, and fits the node's other parts to it."""
    images = torch.zeros(2, 3, size, size)
    shapes = declared(owner, size) or measured(owner["backbone"], registry, images)
    levels = chosen_levels([size // side for _, side in shapes])
    ours = dict(type="ConvNeXt", arch=ARCH, out_indices=levels)
    our_shapes = measured(ours, registry, images)
    owner["backbone"] = ours
    necks = owner.get("neck") or []
    for neck in [necks] if isinstance(necks, dict) else necks:
        stock_neck = dict(neck)
        fit_reader(neck, channels(shapes), channels(our_shapes))
        if neck == stock_neck:
            return  # it reads what was there before
        shapes = measured(stock_neck, registry, zeros(shapes))
        our_shapes = measured(neck, registry, zeros(our_shapes))
    heads = {key: part for key, part in owner.items() if key not in ("backbone", "neck")}
    old, new = channels(shapes), channels(our_shapes)
    if old != new:
        for node in nodes(heads):
            fit_reader(node, old, new, whole=any(node is part for part in heads.values()))


def declared(owner: dict, size: int) -> Shapes:
    """Levels of mmpretrain's backbones, which cannot be built without it: as their reader says."""
    if not owner["backbone"]["type"].startswith("mmpretrain."):
        return []
    others = [part for key, part in owner.items() if key != "backbone"]
    lists = [node.get("in_channels") for node in nodes(others)]
    named = next(value for value in lists if isinstance(value, list | tuple))
    sides = [size // stride for stride in STRIDES[-len(named) :]]
    return list(zip(named, sides, strict=True))


def zeros(shapes: Shapes) -> list[torch.Tensor]:
    """Feature maps of these shapes, for a batch of two."""
    return [torch.zeros(2, count, side, side) for count, side in shapes]


def measured(part: dict, registry: Registry, inputs: Any) -> Shapes:
    """Shapes of the feature maps that a backbone or a neck makes of images or feature maps."""
    module = registry.build(part)
    module.eval()  # some of mmdet's return nothing
    with torch.no_grad():
        maps = module(inputs)
    if isinstance(maps, torch.Tensor):
        maps = [maps]
    maps = [level[0] if isinstance(level, list | tuple) else level for level in maps]
    return [(level.shape[1], level.shape[-1]) for level in maps]


def channels(shapes: Shapes) -> list[int]:
    """Channels of each level."""
    return [count for count, _ in shapes]


def chosen_levels(strides: list[int]) -> tuple[int, ...]:
    """Our stages for levels of these strides: those of the same strides, or the last ones in order.

    Raises:
        UserError: If there are more levels than our backbone has.
    """
    if strides == sorted(set(strides) & set(STRIDES)):
        return tuple(STRIDES.index(stride) for stride in strides)
    if len(strides) > len(STRIDES):
        raise UserError(f"its backbone has {len(strides)} levels, ours has {len(STRIDES)}")
    return tuple(range(len(STRIDES) - len(strides), len(STRIDES)))


def fit_reader(node: dict, old: Sequence[int], new: Sequence[int], *, whole: bool = True) -> None:
    """Replaces the channels in one dict of the config.

    Args:
        node: It may name levels by ``in_index``, and their channels by ``in_channels``.
        old: Channels of each level before.
        new: Channels of each level now.
        whole: False for a part of a reader: without ``in_index`` its channels are its own.
    """
    index, value = node.get("in_index"), node.get("in_channels")
    if isinstance(value, list | tuple):
        levels = index if isinstance(index, list | tuple) else range(len(old))[-len(value) :]
        if [old[level] for level in levels] == list(value):
            node["in_channels"] = type(value)(new[level] for level in levels)
    elif isinstance(index, int):
        node["in_channels"] = new[index]
    elif value is not None and whole and value in old:
        node["in_channels"] = new[len(old) - 1 - list(old)[::-1].index(value)]
    if node.get("num_convs") == 0 and "channels" in node:  # the classifying layer is all it has
        node["channels"] = node["in_channels"]
    if "c1_in_channels" in node:  # DeepLabV3+'s second input
        node["c1_in_channels"] = new[0]
