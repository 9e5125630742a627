"""How ConvNeXt's layers are written for a runtime: the same function in the operators it runs best.

docs/results.md has the measurements. Products as 1 x 1 convolutions are faster than MatMul in both
runtimes, except where onnxruntime has them in 8 bits. OpenVINO takes LayerNormalization apart, and
transposes feature maps around it: norms of means and products over the channel axis stay in its
channels-last memory from one block to the next.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from convnext_dense.export.exportable import Exportable
from convnext_dense.models.block import Block
from convnext_dense.models.layers import GRN


@dataclass(frozen=True)
class Form:
    """How layers are written.

    Attributes:
        convolutions: The MLP of a block as 1 x 1 convolutions of (N, C, H, W), not as products.
        norms_by_means: LayerNorm as means and products, not as one operator on transposed maps.
    """

    convolutions: bool = False
    norms_by_means: bool = False


AS_TRAINED = Form()
ONNX_FORM, OPENVINO_FORM = Form(convolutions=True), Form(convolutions=True, norms_by_means=True)


def in_form(model: Exportable, form: Form) -> Exportable:
    """The model with its layers in a form; the given one stays as it is."""
    if form == AS_TRAINED:
        return model
    module = deepcopy(model.module)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if form.convolutions and _has_linear_mlp(child):
                setattr(parent, name, ConvolutionalBlock(child, form.norms_by_means))
            elif form.norms_by_means and type(child) is LayerNorm2d:
                setattr(parent, name, NormByMeans(child))
    return replace(model, module=module.requires_grad_(False))


def _has_linear_mlp(module: nn.Module) -> bool:
    return type(module) is Block and all(
        type(layer) is nn.Linear for layer in (module.pwconv1, module.pwconv2)
    )


class NormByMeans(nn.Module):
    """LayerNorm over the channels of (N, C, H, W), as means and products.

    Args:
        norm: The layer, over C.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.reshape(-1, 1, 1))
        self.bias = nn.Parameter(norm.bias.reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        x = x - x.mean(1, keepdim=True)
        # Not rsqrt: in some graphs OpenVINO 2026.4 computes something else for it.
        deviation = ((x * x).mean(1, keepdim=True) + self.eps).sqrt()
        return x / deviation * self.weight + self.bias


class TransposedNorm(nn.Module):
    """LayerNorm over the channels of (N, C, H, W) as the single operator, on transposed maps."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelsFirstGRN(nn.Module):
    """:class:`GRN` over (N, C, H, W)."""

    def __init__(self, grn: GRN) -> None:
        super().__init__()
        self.eps = grn.eps
        self.gamma = nn.Parameter(grn.gamma.reshape(-1, 1, 1))
        self.beta = nn.Parameter(grn.beta.reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        norm = (x * x).sum((2, 3), keepdim=True).sqrt()
        response = norm / (norm.mean(1, keepdim=True) + self.eps)
        return x + self.gamma * (x * response) + self.beta


class ConvolutionalBlock(nn.Module):
    """A block whose MLP is two 1 x 1 convolutions.

    Args:
        block: The block, with linear layers.
        norm_by_means: The norm as :class:`NormByMeans`.
    """

    def __init__(self, block: Block, norm_by_means: bool) -> None:
        super().__init__()
        self.dwconv, self.act, self.gamma = block.dwconv, block.act, block.gamma
        self.norm = (NormByMeans if norm_by_means else TransposedNorm)(block.norm)
        self.pwconv1, self.pwconv2 = map(_as_convolution, (block.pwconv1, block.pwconv2))
        self.grn = ChannelsFirstGRN(block.grn) if isinstance(block.grn, GRN) else block.grn

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        y = self.grn(self.act(self.pwconv1(self.norm(self.dwconv(x)))))
        y = self.pwconv2(y)
        return x + (y if self.gamma is None else y * self.gamma[:, None, None])


def _as_convolution(layer: nn.Linear) -> nn.Conv2d:
    convolution = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=layer.bias is not None)
    convolution.weight = nn.Parameter(layer.weight[:, :, None, None])
    convolution.bias = layer.bias
    return convolution
