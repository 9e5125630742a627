"""Steps of the whole backbone for :mod:`convnext_dense.benchmark.ablation.choices`.

A change modifies a network before it runs.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn

from convnext_dense import kernels
from convnext_dense.benchmark.ablation.layers import (
    LEARNING_RATE,
    TensorStep,
    average_at_once,
    average_by_loop,
)
from convnext_dense.benchmark.modes import Options, make_step
from convnext_dense.engine.compiling import compile_blocks
from convnext_dense.models import Block, ConvNeXt
from convnext_dense.models.fast import cpu_path
from convnext_dense.models.staged_network import STRIDES

SEVERAL = 8  # images of a batch of which stochastic depth drops some
DROP_PATH_RATE = 0.4  # of the paper's detectors with ConvNeXt-T

Change = Callable[[nn.Module, Options], None]


def new_backbone(change: Change | None, arch: str, options: Options, **build) -> ConvNeXt:
    """The backbone on the device, with the same random weights for all arguments ``build``."""
    torch.manual_seed(0)
    with torch.device(options.device):
        network = ConvNeXt(arch, layer_scale_init_value=1.0, **build)
    with torch.no_grad():  # initial biases are 0 and norms 1, which would have no effect
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    if change is not None:
        change(network, options)
    return network


def inference(change: Change | None, arch: str, options: Options, **build) -> TensorStep:
    """A forward pass; returns the feature maps."""
    network = new_backbone(change, arch, options, **build)
    torch.manual_seed(1)
    return make_step(network, replace(options, mode="infer"))


def training(change: Change | None, arch: str, options: Options, **build) -> TensorStep:
    """A forward and a backward pass; returns the gradients. All networks draw the same samples."""
    return _gradients(new_backbone(change, arch, options, **build), options)


def _gradients(network: nn.Module, options: Options) -> TensorStep:
    torch.manual_seed(1)
    step, seeds = make_step(network, replace(options, mode="train")), count()

    def gradients() -> list[Tensor]:
        torch.manual_seed(next(seeds))
        step()
        return [parameter.grad for parameter in network.parameters()]

    return gradients


def training_of_several(change: Change | None, arch: str, options: Options, **build) -> TensorStep:
    """As :func:`training`, with several images: eight small ones instead of fewer ones."""
    return training(change, arch, _several_images(options), **build)


def whole_step(arch: str, options: Options, *, shipped: bool) -> TensorStep:
    """Forward, backward, optimizer and moving average, plain or as shipped; returns gradients."""
    options = _several_images(options)
    network = new_backbone(None, arch, options, fast=shipped, drop_path_rate=DROP_PATH_RATE)
    gradients = _gradients(network, options)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=LEARNING_RATE, **({"fused": True} if shipped else {})
    )
    averages = [parameter.detach().clone() for parameter in parameters]
    update = average_at_once if shipped else average_by_loop

    def step() -> list[Tensor]:
        result = gradients()
        optimizer.step()
        update(averages, parameters)
        return result

    return step


def _several_images(options: Options) -> Options:
    if options.batch_size >= SEVERAL:
        return options
    small = tuple(max(STRIDES[-1], side // 4) for side in options.image_size)
    return replace(options, batch_size=SEVERAL, image_size=small)


def in_nchw(network: nn.Module, options: Options) -> None:
    """Gives every convolution and block feature maps in torch's default memory format."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | Block):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))


def compiled(network: nn.Module, options: Options) -> None:
    """Compiles the blocks, as ``--compile`` does in a training."""
    compile_blocks(network)


def replace_fast_path(add_branch: Callable, network: nn.Module, options: Options) -> None:
    """Makes ``add_branch(block, x, scale)`` the fast path of every block."""
    for module in network.modules():
        if isinstance(module, Block):
            module._choose_fast_path = partial(_always, partial(add_branch, module))


def _always(add_branch: Callable, x: Tensor) -> Callable:
    return add_branch


def with_torchs_convolution(block: Block, x: Tensor, scale: float) -> Tensor:
    """The CPU path with torch's depthwise weight gradient."""
    y, layers = _to_nhwc(block.dwconv(x)), (block.norm, block.pwconv1, block.pwconv2)
    return _to_nchw(cpu_path.add_norm_mlp(_to_nhwc(x), y, *layers, block._scaled_gamma(x, scale)))


def with_autograds_mlp(block: Block, x: Tensor, scale: float) -> Tensor:
    """The CPU path with norm and MLP by autograd."""
    y = block.norm(_to_nhwc(cpu_path.depthwise(x, block.dwconv)))
    return x + _to_nchw(
        block._scaled_gamma(x, scale) * block._activate_and_project(block.pwconv1(y))
    )


def convolution_kernel(block: Block, x: Tensor, scale: float) -> Tensor:
    """The kernel of convolution and norm, and torch's MLP."""
    conv, norm = block.dwconv, block.norm
    y = kernels.dwconv_norm(x, conv.weight, conv.bias, norm.weight, norm.bias, norm.eps)
    return x + _to_nchw(
        block._scaled_gamma(x, scale) * block._activate_and_project(block.pwconv1(y))
    )


def mlp_kernel(block: Block, x: Tensor, scale: float) -> Tensor:
    """torch's convolution and norm, and the kernel of the MLP."""
    weights = [p for layer in (block.pwconv1, block.pwconv2) for p in (layer.weight, layer.bias)]
    y = block.norm(_to_nhwc(block.dwconv(x)))
    return _to_nchw(kernels.mlp(y, _to_nhwc(x), *weights, block._scaled_gamma(x, scale)))


def _to_nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _to_nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
