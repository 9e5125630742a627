"""The choices in the backbone's fast path, each with several implementations of one computation.

All implementations of a choice return the same tensors: ``benchmarks/parts.py`` compares them
before it measures their speed. The first one is the plain one. Everything here can be pickled by
name, since memory is measured in separate processes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from timm.layers import LayerNorm2d

from convnext_dense.benchmark.ablation import layers, networks
from convnext_dense.benchmark.ablation.layers import TensorStep
from convnext_dense.benchmark.modes import Options
from convnext_dense.models import Block


@dataclass(frozen=True)
class Implementation:
    """One implementation of a choice's computation.

    Attributes:
        make: Makes a step from a variant's name and the options.
        device: The device on which it differs from the others; None for all devices.
        compiled: It needs a compiler, and minutes.
    """

    name: str
    make: Callable[[str, Options], TensorStep]
    device: str | None = None
    compiled: bool = False


@dataclass(frozen=True)
class Choice:
    """One choice and its implementations, the plain one first.

    Attributes:
        memory: Measure peak memory too, each in its own process.
        random: The implementations draw samples, some on the CPU and some on the device.
        kernels: It compares the Triton kernels, in bf16.
    """

    name: str
    implementations: tuple[Implementation, ...]
    memory: bool = False
    random: bool = False
    kernels: bool = False


def _network(
    step: Callable, name: str, change: networks.Change | None = None, **options
) -> Implementation:
    return Implementation(name, partial(step, change, **options))


def _blocks_by(add_branch: Callable) -> networks.Change:
    return partial(networks.replace_fast_path, add_branch)


def _half_of_cpu_path(name: str, add_branch: Callable) -> Implementation:
    """Training with one half of the CPU's fast path; NVIDIA GPUs have another fast path."""
    return Implementation(name, partial(networks.training, _blocks_by(add_branch)), device="cpu")


def _compiled(step: Callable) -> Implementation:
    make = partial(step, networks.compiled)
    return Implementation("fast, compiled by blocks", make, compiled=True)


def _stochastic_depth(rate: float) -> Choice:
    step = partial(networks.training_of_several, drop_path_rate=rate)
    implementations = (
        _network(step, "plain: DropPath multiplies", fast=False),
        _network(step, "plain, samples left out", _blocks_by(Block._add_branch_plain)),
        _network(step, "fast"),
    )
    return Choice(f"stochastic depth {rate}", implementations, random=True)


def _choice(name: str, make: Callable, arguments: dict) -> Choice:
    """A choice whose implementations are ``make`` with different first arguments."""
    implementations = (
        Implementation(label, partial(make, argument)) for label, argument in arguments.items()
    )
    return Choice(name, tuple(implementations))


_NORMS = {
    "F.layer_norm of the view (ours)": layers.norm_of_view,
    "timm's LayerNorm2d": LayerNorm2d.__call__,
    "torch.native_layer_norm": layers.native_norm,
    "the release's mean and variance": layers.norm_by_hand,
}
_train, _infer = networks.training, networks.inference

CHOICES = (
    Choice(
        "training",
        (
            _network(_train, "plain", fast=False),
            _network(_train, "plain, maps in NCHW", networks.in_nchw, fast=False),
            _network(_train, "plain, with_cp='gelu'", fast=False, with_cp="gelu"),
            _network(_train, "plain, with_cp='block'", fast=False, with_cp="block"),
            _half_of_cpu_path(
                "fast, torch's depthwise weight gradient", networks.with_torchs_convolution
            ),
            _half_of_cpu_path("fast, norm and MLP by autograd", networks.with_autograds_mlp),
            _network(_train, "fast"),
            _network(_train, "fast, with_cp='block'", with_cp="block"),
            _compiled(_train),
        ),
        memory=True,
    ),
    Choice(
        "inference",
        (
            _network(_infer, "plain", fast=False),
            _network(_infer, "plain, maps in NCHW", networks.in_nchw, fast=False),
            _network(_infer, "fast (in place on a CPU)"),
            _compiled(_infer),
        ),
        memory=True,
    ),
    _stochastic_depth(0.1),
    _stochastic_depth(0.4),
    _choice("LayerNorm, forward", partial(layers.layer, draw=layers.norms, backward=False), _NORMS),
    _choice(
        "LayerNorm, forward and backward",
        partial(layers.layer, draw=layers.norms, backward=True),
        _NORMS,
    ),
    _choice(
        "gamma, forward and backward",
        partial(layers.layer, draw=layers.projections, backward=True),
        {
            "residual + gamma * projection": layers.gamma_multiplied,
            "addcmul": layers.gamma_with_residual,
            "folded into the weight": layers.gamma_folded,
        },
    ),
    _choice(
        "optimizer",
        layers.optimizer,
        {
            "AdamW, torch's default": {},
            "AdamW, foreach": {"foreach": True},
            "AdamW, fused": {"fused": True},
        },
    ),
    _choice(
        "moving average",
        layers.average,
        {"by a loop": layers.average_by_loop, "at once": layers.average_at_once},
    ),
    Choice(
        "whole step with optimizer and moving average",
        (
            Implementation("plain", partial(networks.whole_step, shipped=False)),
            Implementation("all together", partial(networks.whole_step, shipped=True)),
        ),
        memory=True,
        random=True,
    ),
    Choice(
        "training in bf16",
        (
            _network(_train, "plain", fast=False),
            _network(
                _train, "kernel of convolution and norm", _blocks_by(networks.convolution_kernel)
            ),
            _network(_train, "kernel of the MLP", _blocks_by(networks.mlp_kernel)),
            _network(_train, "fast (float32 stream)"),
            _network(_train, "fast, bf16 stream", half_stream=True),
        ),
        memory=True,
        kernels=True,
    ),
)
