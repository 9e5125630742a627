"""Describes the layers of a step's network, for its diagram."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from convnext_dense.models.roadmap.layers import RoadmapBlock
from convnext_dense.models.roadmap.network import ConvNeXtRoadmapClassifier

STAGE = 1  # the second stage: the first one has no stride, and the later ones are like it


@dataclass(frozen=True)
class Layer:
    """One box of a diagram.

    Attributes:
        kind: ``conv``, ``norm``, ``act`` or ``other``: its colour.
        text: Text in the box.
        channels: (in, out) of a convolution, which give the widths of the box's two ends.
    """

    kind: str
    text: str
    channels: tuple[int, int] | None = None


@dataclass(frozen=True)
class Part:
    """A part of the network, from top to bottom.

    Attributes:
        before: Layers before the residual branch, or all layers if the part is not a block.
        branch: Layers of the residual branch; empty if the part is not a block.
        shortcut: Layers of the shortcut.
        after: Layers after the sum.
    """

    before: tuple[Layer, ...] = ()
    branch: tuple[Layer, ...] = ()
    shortcut: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()


def network_parts(network: ConvNeXtRoadmapClassifier) -> dict[str, Part]:
    """The stem, a block, the first block of a stage with its downsampling, and the head."""
    downsampling = network.downsample_layers[STAGE]
    first, second, *_ = network.stages[STAGE]
    pooled = [Layer("other", "global mean"), *_describe(network.norm)]
    return {
        "stem": Part(before=tuple(_describe(network.downsample_layers[0]))),
        "block": _block(second, ()),
        "first block of a stage": _block(first, tuple(_describe(downsampling))),
        "head": Part(before=(*pooled, *_describe(network.head))),
    }


def _block(block: RoadmapBlock, before: tuple[Layer, ...]) -> Part:
    spatial = (block.dwconv, block.norm, block.act1 if block.moved_up else block.act2)
    wide = (block.pwconv1, block.norm1, block.act2 if block.moved_up else block.act1)
    order = (*spatial, *wide) if block.moved_up else (*wide, *spatial)
    branch = [layer for m in (*order, block.pwconv2, block.norm2) for layer in _describe(m)]
    if block.gamma is not None:
        branch.append(Layer("other", "layer scale"))
    return Part(
        before, tuple(branch), tuple(_describe(block.shortcut)), tuple(_describe(block.act3))
    )


def _describe(module: nn.Module) -> Iterator[Layer]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _describe(child)
    elif isinstance(module, nn.Conv2d):
        kind = "d" if module.groups > 1 else ""
        size, stride = module.kernel_size[0], module.stride[0]
        channels = (module.in_channels, module.out_channels)
        text = f"{kind}{size}×{size}, {_format_channels(channels)}" + (
            f", / {stride}" if stride > 1 else ""
        )
        yield Layer("conv", text, channels)
    elif isinstance(module, nn.Linear):
        channels = (module.in_features, module.out_features)
        yield Layer("conv", f"1×1, {_format_channels(channels)}", channels)
    elif isinstance(module, nn.BatchNorm2d):
        yield Layer("norm", "BatchNorm")
    elif isinstance(module, nn.LayerNorm):
        yield Layer("norm", "LayerNorm")
    elif isinstance(module, nn.ReLU | nn.GELU):
        yield Layer("act", type(module).__name__)
    elif isinstance(module, nn.MaxPool2d):
        yield Layer(
            "other", f"max pool {module.kernel_size}×{module.kernel_size}, / {module.stride}"
        )
    elif not isinstance(module, nn.Identity):
        raise TypeError(f"There is no diagram of a {type(module).__name__}.")


def _format_channels(channels: tuple[int, int]) -> str:
    return str(channels[0]) if channels[0] == channels[1] else "{} → {}".format(*channels)
