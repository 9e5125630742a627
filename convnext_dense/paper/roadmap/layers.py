"""The layers of a step's network in words, read off the network itself, for its picture."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from convnext_dense.models.roadmap.layers import RoadmapBlock
from convnext_dense.models.roadmap.network import ConvNeXtRoadmapClassifier

STAGE = 1  # the second stage: the first has no stride, and all later ones are alike


@dataclass(frozen=True)
class Layer:
    """One box of a picture.

    Attributes:
        kind: ``conv``, ``norm``, ``act`` or ``other``: its colour.
        text: What stands in it.
        channels: (in, out) of a convolution: the widths of its two ends.
    """

    kind: str
    text: str
    channels: tuple[int, int] | None = None


@dataclass(frozen=True)
class Part:
    """A part of the network from top to bottom.

    Attributes:
        before: Layers in front of the residual branch, or all of them.
        branch: Layers of the residual branch; empty where the part is no block.
        shortcut: Layers beside the branch.
        after: Layers after the sum.
    """

    before: tuple[Layer, ...] = ()
    branch: tuple[Layer, ...] = ()
    shortcut: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()


def parts(network: ConvNeXtRoadmapClassifier) -> dict[str, Part]:
    """The stem, a block, the way into the next stage, and the head."""
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
        text = f"{kind}{size}×{size}, {_arrow(channels)}" + (f", / {stride}" if stride > 1 else "")
        yield Layer("conv", text, channels)
    elif isinstance(module, nn.Linear):
        channels = (module.in_features, module.out_features)
        yield Layer("conv", f"1×1, {_arrow(channels)}", channels)
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
        raise TypeError(f"No picture for {type(module).__name__}.")


def _arrow(channels: tuple[int, int]) -> str:
    return str(channels[0]) if channels[0] == channels[1] else "{} → {}".format(*channels)
