"""Steps of the whole backbone for :mod:`convnext_dense.benchmark.ablation.choices`.

A change is what is done to a network before it runs.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn

from convnext_dense import kernels
from convnext_dense.benchmark.ablation.layers import RATE, Tensors, average_at_once, average_by_loop
from convnext_dense.benchmark.modes import Options, make_step
from convnext_dense.engine.compiling import compile_blocks
from convnext_dense.models import Block, ConvNeXt
from convnext_dense.models.fast import cpu_path
from convnext_dense.models.staged_network import STRIDES

PICTURES = 8  # of a batch from which stochastic depth can leave some out
DEPTH = 0.4  # stochastic depth of the paper's detectors with ConvNeXt-T

Change = Callable[[nn.Module, Options], None]


def model(change: Change | None, arch: str, options: Options, **build) -> ConvNeXt:
    """The backbone with the same drawn weights whatever ``build`` says, on the device."""
    torch.manual_seed(0)
    with torch.device(options.device):
        found = ConvNeXt(arch, layer_scale_init_value=1.0, **build)
    with torch.no_grad():  # biases are 0 and norms are 1: here every value counts
        for parameter in found.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    if change is not None:
        change(found, options)
    return found


def inference(change: Change | None, arch: str, options: Options, **build) -> Tensors:
    """A forward pass; returns the maps."""
    network = model(change, arch, options, **build)
    torch.manual_seed(1)
    return make_step(network, replace(options, mode="infer"))


def training(change: Change | None, arch: str, options: Options, **build) -> Tensors:
    """A forward and a backward pass; returns the gradients. All ways draw the same samples."""
    return _gradients(model(change, arch, options, **build), options)


def _gradients(network: nn.Module, options: Options) -> Tensors:
    torch.manual_seed(1)
    step, seeds = make_step(network, replace(options, mode="train")), count()

    def gradients() -> list[Tensor]:
        torch.manual_seed(next(seeds))
        step()
        return [parameter.grad for parameter in network.parameters()]

    return gradients


def stochastic(change: Change | None, arch: str, options: Options, **build) -> Tensors:
    """As :func:`training`, with several pictures: eight small ones where one was asked for."""
    return training(change, arch, _several(options), **build)


def whole_step(shipped: bool, arch: str, options: Options) -> Tensors:
    """Forward, backward, optimizer and moving average; returns the gradients."""
    options = _several(options)
    network = model(None, arch, options, fast=shipped, drop_path_rate=DEPTH)
    gradients = _gradients(network, options)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=RATE, **({"fused": True} if shipped else {}))
    averages = [parameter.detach().clone() for parameter in parameters]
    move = average_at_once if shipped else average_by_loop

    def step() -> list[Tensor]:
        found = gradients()
        optimizer.step()
        move(averages, parameters)
        return found

    return step


def _several(options: Options) -> Options:
    if options.batch_size >= PICTURES:
        return options
    small = tuple(max(STRIDES[-1], side // 4) for side in options.image_size)
    return replace(options, batch_size=PICTURES, image_size=small)


def in_nchw(network: nn.Module, options: Options) -> None:
    """Has every convolution and block get maps in torch's default memory format."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | Block):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))


def compiled(network: nn.Module, options: Options) -> None:
    """What ``--compile`` does."""
    compile_blocks(network)


def computed_by(add: Callable, network: nn.Module, options: Options) -> None:
    """Has every block's fast path be ``add(block, x, scale)``."""
    for module in network.modules():
        if isinstance(module, Block):
            module._choose_fast_path = partial(_always, partial(add, module))


def _always(add: Callable, x: Tensor) -> Callable:
    return add


def torchs_convolution(block: Block, x: Tensor, scale: float) -> Tensor:
    """The lean path without its depthwise weight gradient."""
    y, layers = _view(block.dwconv(x)), (block.norm, block.pwconv1, block.pwconv2)
    return _maps(cpu_path.add_norm_mlp(_view(x), y, *layers, block._scaled_gamma(x, scale)))


def autograds_mlp(block: Block, x: Tensor, scale: float) -> Tensor:
    """The lean path without its hand-written norm and MLP."""
    y = block.norm(_view(cpu_path.depthwise(x, block.dwconv)))
    return x + _maps(block._scaled_gamma(x, scale) * block._activate_and_project(block.pwconv1(y)))


def convolution_kernel(block: Block, x: Tensor, scale: float) -> Tensor:
    """The kernel of convolution and norm, and torch's MLP."""
    conv, norm = block.dwconv, block.norm
    y = kernels.dwconv_norm(x, conv.weight, conv.bias, norm.weight, norm.bias, norm.eps)
    return x + _maps(block._scaled_gamma(x, scale) * block._activate_and_project(block.pwconv1(y)))


def mlp_kernel(block: Block, x: Tensor, scale: float) -> Tensor:
    """torch's convolution and norm, and the kernel of the MLP."""
    weights = [p for layer in (block.pwconv1, block.pwconv2) for p in (layer.weight, layer.bias)]
    y = block.norm(_view(block.dwconv(x)))
    return _maps(kernels.mlp(y, _view(x), *weights, block._scaled_gamma(x, scale)))


def _view(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _maps(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
