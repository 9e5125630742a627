"""Layers as an exporter and the runtimes take them best; the same function of the same weights."""

import torch
import torch.nn.functional as F
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from convnext_dense.models.block import Block


class PyramidPool(nn.Module):
    """``AdaptiveAvgPool2d`` to a square of bins, for feature maps of any size.

    ONNX has no such operator: the exporter takes average pooling with the sizes of the example, and
    other sizes fail. Here each axis is a product with the averaging weights of its bins.

    Args:
        bins: On each axis.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, bins, bins)."""
        rows, columns = (self._weights(x.shape[axis], x) for axis in (2, 3))
        return rows @ x @ columns.transpose(0, 1)

    def _weights(self, length: int, x: Tensor) -> Tensor:
        """The part of each position (length,) in each bin: (bins, length)."""
        position = torch.arange(length, device=x.device)[None]
        number = torch.arange(self.bins, device=x.device)[:, None]
        first = (number * length).div(self.bins, rounding_mode="floor")
        end = ((number + 1) * length + self.bins - 1).div(self.bins, rounding_mode="floor")
        inside = ((position >= first) & (position < end)).to(x.dtype)
        return inside / (end - first).to(x.dtype)


def adapt(network: nn.Module) -> nn.Module:
    """Replaces layers of a network in evaluation mode, in place.

    Layer scale is multiplied into the layer before it, synchronised norms become plain ones, and
    pooling to a fixed number of bins :class:`PyramidPool`.
    """
    network = revert_sync_batchnorm(network).eval()
    for module in list(network.modules()):
        if isinstance(module, Block):
            _fold_layer_scale(module)
        for name, child in list(module.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d:
                bins = child.output_size
                bins = bins if isinstance(bins, int) else bins[0]
                setattr(module, name, PyramidPool(bins))
    return network.requires_grad_(False)


def _fold_layer_scale(block: Block) -> None:
    if block.gamma is None or type(block.pwconv2) is not nn.Linear:
        return
    with torch.no_grad():
        block.pwconv2.weight.mul_(block.gamma[:, None])
        block.pwconv2.bias.mul_(block.gamma)
    block.gamma = None


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels on the scale of 8 bits as the network takes them."""
    return (pixels - mean) / std


def resize_to(maps: Tensor, like: Tensor, align_corners: bool) -> Tensor:
    """Feature maps in the height and width of others, bilinear."""
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=align_corners)
