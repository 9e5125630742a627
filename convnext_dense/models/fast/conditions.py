"""Whether a block's layers and input are as the fast paths suppose, which read weights only.

The fast paths compute with operations of their own, so what looks into a model must not meet them:
hooks, changed layers, weights that are no plain numbers, tracing and exporting, function transforms
and modes that watch operations.
"""

import torch
from timm.layers import DropPath
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules import module as all_modules

from convnext_dense.kernels.backward import in_transform

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
TENSORS = (torch.Tensor, nn.Parameter)  # a subclass (quantised, distributed) has its own operations
LAYERS = {
    "dwconv": nn.Conv2d,
    "norm": nn.LayerNorm,
    "pwconv1": nn.Linear,
    "act": nn.GELU,
    "grn": nn.Identity,
    "pwconv2": nn.Linear,
}


def layers_as_built(block: nn.Module) -> bool:
    """Whether every layer is of its kind, with its settings, and nobody listens to it.

    A dilated convolution, a GELU by tanh, a layer with hooks or with a ``forward`` of its own have
    to be called to take effect.
    """
    layers = block._modules  # called for every block of every step: attributes of modules are slow
    conv, norm, act = layers["dwconv"], layers["norm"], layers["act"]
    return (
        all(type(layers[name]) is kind and _unheard(layers[name]) for name, kind in LAYERS.items())
        and not all_modules._has_any_global_hook()
        and _keeps_size(conv)
        and act.approximate == "none"
        and norm.normalized_shape == (conv.in_channels,)
        and all(
            type(layers[name].weight) in TENSORS and type(layers[name].bias) in TENSORS
            for name in ("dwconv", "norm", "pwconv1", "pwconv2")
        )
        and (block.gamma is None or type(block.gamma) in TENSORS)
    )


def fits_layers(block: nn.Module, x: torch.Tensor, autocast: bool) -> bool:
    """Whether a map has the layers' channels, device and, without autocast, type.

    The kernels read addresses: what does not fit would be garbage instead of an exception.
    """
    weight = block.dwconv.weight
    return (
        x.dim() == 4
        and x.shape[1] == weight.shape[0]
        and x.device == weight.device
        and (autocast or x.dtype == weight.dtype)
    )


def drops_samples(drop_path: nn.Module) -> bool:
    """Whether stochastic depth is timm's, which leaves samples out and scales the others."""
    return type(drop_path) is DropPath and drop_path.scale_by_keep and _unheard(drop_path)


def allows_own_operators(x: object) -> bool:
    """Whether x holds numbers that are computed now, or will be by torch.compile's graph.

    False for proxies and fakes, for what is traced or exported (a file is read where our operators
    are not known), inside of torch.func's transforms and forward-mode differentiation, and where a
    mode watches the operations, as a counter of multiply-adds does. All of them need operations
    that they can look into.
    """
    if type(x) not in TENSORS or in_transform() or forward_ad._current_level >= 0:
        return False
    if torch.jit.is_tracing() or _exporting():
        return False
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() == 0


# Dynamo would answer this by itself, and wrongly, were it not told to call the function.
@torch.compiler.assume_constant_result
def _exporting() -> bool:
    return torch.compiler.is_exporting()


def _unheard(layer: nn.Module) -> bool:
    own = vars(layer)
    return "forward" not in own and not any(own[name] for name in HOOKS)


def _keeps_size(conv: nn.Conv2d) -> bool:
    """A depthwise convolution of stride 1 with zeros around, as large as its input."""
    (height, width), channels = conv.kernel_size, conv.in_channels
    return (
        height == width
        and height % 2 == 1
        and conv.padding == (height // 2, height // 2)
        and conv.padding_mode == "zeros"
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == conv.out_channels == channels
    )
