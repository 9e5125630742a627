"""Whether a block's layers and input are as the fast paths suppose, which read weights only."""

import torch
from timm.layers import DropPath
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules import module as all_modules

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
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
    layers = [(block.get_submodule(name), kind) for name, kind in LAYERS.items()]
    return (
        all(type(layer) is kind and _unheard(layer) for layer, kind in layers)
        and not all_modules._has_any_global_hook()
        and _keeps_size(block.dwconv)
        and block.act.approximate == "none"
        and block.norm.normalized_shape == (block.dwconv.in_channels,)
        and None not in (block.dwconv.bias, block.norm.weight, block.norm.bias)
        and None not in (block.pwconv1.bias, block.pwconv2.bias)
    )


def drops_samples(drop_path: nn.Module) -> bool:
    """Whether stochastic depth is timm's, which leaves samples out and scales the others."""
    return type(drop_path) is DropPath and drop_path.scale_by_keep and _unheard(drop_path)


def is_plain_tensor(x: object) -> bool:
    """False inside of torch.func's transforms and forward-mode differentiation, and for proxies.

    Those need operations that they can look into.
    """
    return (
        isinstance(x, torch.Tensor)
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


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
