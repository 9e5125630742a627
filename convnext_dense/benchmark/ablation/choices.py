"""What makes the backbone fast, lever by lever: one thing, and the ways in which it is computed.

All ways of a lever return the same tensors (``benchmarks/parts.py`` compares before it times them),
and the first one is the plain one. Everything here can be pickled by its name: memory is measured
in processes of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from timm.layers import LayerNorm2d

from convnext_dense.benchmark.ablation import layers as layers
from convnext_dense.benchmark.ablation import networks as networks
from convnext_dense.benchmark.ablation.layers import Tensors
from convnext_dense.benchmark.modes import Options
from convnext_dense.models import Block


@dataclass(frozen=True)
class Way:
    """One way of computing what its lever computes.

    Attributes:
        make: From a variant's name and the options to a step.
        device: Where it differs from the others; None for everywhere.
        compiled: It needs a compiler, and minutes.
    """

    name: str
    make: Callable[[str, Options], Tensors]
    device: str | None = None
    compiled: bool = False


@dataclass(frozen=True)
class Lever:
    """One thing and its ways, the plain one first.

    Attributes:
        memory: Whether peak memory is worth its process.
        random: Ways draw samples, some on the CPU and some on the device.
        kernels: It is about the Triton kernels, in bf16.
    """

    name: str
    ways: tuple[Way, ...]
    memory: bool = False
    random: bool = False
    kernels: bool = False


def _network(kind: Callable, name: str, change: networks.Change | None = None, **build) -> Way:
    return Way(name, partial(kind, change, **build))


def _by(add: Callable) -> networks.Change:
    return partial(networks.computed_by, add)


def _half(name: str, add: Callable) -> Way:
    """The CPU's fast path with one of its halves; NVIDIA GPUs have another one."""
    return Way(name, partial(networks.training, _by(add)), device="cpu")


def _compiled(kind: Callable) -> Way:
    return Way("fast, compiled by blocks", partial(kind, networks.compiled), compiled=True)


def _depth(rate: float) -> Lever:
    kind = partial(networks.stochastic, drop_path_rate=rate)
    skipping = _network(kind, "plain, samples left out", _by(Block._add_branch_plain))
    ways = _network(kind, "plain: DropPath multiplies", fast=False), skipping
    return Lever(f"stochastic depth {rate}", (*ways, _network(kind, "fast")), random=True)


def _each(name: str, make: Callable, ways: dict) -> Lever:
    return Lever(name, tuple(Way(way, partial(make, what)) for way, what in ways.items()))


_NORMS = {
    "F.layer_norm of the view (ours)": layers.norm_of_view,
    "timm's LayerNorm2d": LayerNorm2d.__call__,
    "torch.native_layer_norm": layers.native_norm,
    "the release's mean and variance": layers.norm_by_hand,
}
_train, _infer = networks.training, networks.inference

LEVERS = (
    Lever(
        "training",
        (
            _network(_train, "plain", fast=False),
            _network(_train, "plain, maps in NCHW", networks.in_nchw, fast=False),
            _network(_train, "plain, with_cp='gelu'", fast=False, with_cp="gelu"),
            _network(_train, "plain, with_cp='block'", fast=False, with_cp="block"),
            _half("fast, torch's depthwise weight gradient", networks.torchs_convolution),
            _half("fast, norm and MLP by autograd", networks.autograds_mlp),
            _network(_train, "fast"),
            _network(_train, "fast, with_cp='block'", with_cp="block"),
            _compiled(_train),
        ),
        memory=True,
    ),
    Lever(
        "inference",
        (
            _network(_infer, "plain", fast=False),
            _network(_infer, "plain, maps in NCHW", networks.in_nchw, fast=False),
            _network(_infer, "fast (in place on a CPU)"),
            _compiled(_infer),
        ),
        memory=True,
    ),
    _depth(0.1),
    _depth(0.4),
    _each("LayerNorm, forward", partial(layers.layer, False, layers.norms), _NORMS),
    _each("LayerNorm, forward and backward", partial(layers.layer, True, layers.norms), _NORMS),
    _each(
        "gamma, forward and backward",
        partial(layers.layer, True, layers.projections),
        {
            "residual + gamma * projection": layers.gamma_multiplied,
            "addcmul": layers.gamma_with_residual,
            "folded into the weight": layers.gamma_folded,
        },
    ),
    _each(
        "optimizer",
        layers.optimizer,
        {
            "AdamW, torch's default": {},
            "AdamW, foreach": {"foreach": True},
            "AdamW, fused": {"fused": True},
        },
    ),
    _each(
        "moving average",
        layers.average,
        {"by a loop": layers.average_by_loop, "at once": layers.average_at_once},
    ),
    Lever(
        "whole step with optimizer and moving average",
        (
            Way("plain", partial(networks.whole_step, False)),
            Way("all together", partial(networks.whole_step, True)),
        ),
        memory=True,
        random=True,
    ),
    Lever(
        "training in bf16",
        (
            _network(_train, "plain", fast=False),
            _network(_train, "kernel of convolution and norm", _by(networks.convolution_kernel)),
            _network(_train, "kernel of the MLP", _by(networks.mlp_kernel)),
            _network(_train, "fast (float32 stream)"),
            _network(_train, "fast, bf16 stream", half_stream=True),
        ),
        memory=True,
        kernels=True,
    ),
)
