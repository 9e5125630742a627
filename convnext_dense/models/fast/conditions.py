"""Conditions of the fast paths on a block's layers and on its input.

The fast paths read the layers' parameters and compute with operators of their own; they do not call
the layers. So they must not be taken where something relies on those calls: hooks, changed layers,
special kinds of tensors, tracing and exporting, function transforms, and modes that watch
operators. ``Block._choose_fast_path`` (``models/block.py``) asks them and decides.
"""

import torch
from timm.layers import DropPath
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules import module as all_modules

from convnext_dense.kernels.backward import in_functorch_transform

HOOK_ATTRIBUTES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Subclasses (quantised, distributed) have operators of their own.
PLAIN_TENSORS = (torch.Tensor, nn.Parameter)
LAYER_TYPES = {
    "dwconv": nn.Conv2d,
    "norm": nn.LayerNorm,
    "pwconv1": nn.Linear,
    "act": nn.GELU,
    "grn": nn.Identity,
    "pwconv2": nn.Linear,
}


def has_standard_layers(block: nn.Module) -> bool:
    """Whether every layer has the type and settings it was built with, and no hooks.

    A dilated convolution, a GELU by tanh, a layer with hooks or a replaced ``forward`` only take
    effect where the layer is called.
    """
    # This runs for every block of every step, and attributes of modules are slow.
    layers = block._modules
    conv, norm, act = layers["dwconv"], layers["norm"], layers["act"]
    return (
        all(
            type(layers[name]) is kind and _has_no_hooks(layers[name])
            for name, kind in LAYER_TYPES.items()
        )
        and not all_modules._has_any_global_hook()
        and _is_plain_depthwise(conv)
        and act.approximate == "none"
        and norm.normalized_shape == (conv.in_channels,)
        and all(
            type(layers[name].weight) in PLAIN_TENSORS and type(layers[name].bias) in PLAIN_TENSORS
            for name in ("dwconv", "norm", "pwconv1", "pwconv2")
        )
        and (block.gamma is None or type(block.gamma) in PLAIN_TENSORS)
    )


def input_fits_layers(block: nn.Module, x: torch.Tensor, autocast: bool) -> bool:
    """Whether the input has the layers' channels, device and, without autocast, type.

    The kernels do not check sizes: they would return garbage instead of raising an exception.
    """
    weight = block.dwconv.weight
    return (
        x.dim() == 4
        and x.shape[1] == weight.shape[0]
        and x.device == weight.device
        and (autocast or x.dtype == weight.dtype)
    )


def drops_whole_samples(drop_path: nn.Module) -> bool:
    """Whether stochastic depth is timm's, which drops samples' branches and scales the others."""
    return type(drop_path) is DropPath and drop_path.scale_by_keep and _has_no_hooks(drop_path)


def allows_custom_operators(x: object) -> bool:
    """Whether x is a plain tensor, in eager execution or under torch.compile.

    False for proxies and fake tensors, while a model is traced or exported (the file may be read
    where our operators do not exist), inside torch.func's transforms and forward-mode
    differentiation, and where a dispatch mode watches the operators, as a FLOP counter does. All of
    them support torch's own operators only.
    """
    if type(x) not in PLAIN_TENSORS or in_functorch_transform() or forward_ad._current_level >= 0:
        return False
    if torch.jit.is_tracing() or _is_exporting():
        return False
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() == 0


# Dynamo's own evaluation of this function is wrong: the decorator has it called instead.
@torch.compiler.assume_constant_result
def _is_exporting() -> bool:
    return torch.compiler.is_exporting()


def _has_no_hooks(layer: nn.Module) -> bool:
    """Whether a layer has no hooks, and no ``forward`` that replaces its class's."""
    attributes = vars(layer)
    return "forward" not in attributes and not any(attributes[name] for name in HOOK_ATTRIBUTES)


def _is_plain_depthwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution is depthwise with stride 1, and zero padding keeps the size."""
    (height, width), channels = conv.kernel_size, conv.in_channels
    return (
        height == width
        and height % 2 == 1
        and conv.padding == (height // 2, height // 2)
        and conv.padding_mode == "zeros"
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == conv.out_channels == channels
    )
