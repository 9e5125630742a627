"""One iteration of each mode, and the options under which it runs.

``infer`` is a forward pass in inference mode. ``train`` is a forward and a backward pass of the sum
of the maps' mean squares, without an optimizer, whose step costs both sides the same.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt
from convnext_dense.paper.timing import Step

AMP = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}

Forward = Callable[[], Sequence[torch.Tensor]]


def _infer(network: nn.Module, forward: Forward) -> Step:
    return torch.inference_mode()(forward)


def _train(network: nn.Module, forward: Forward) -> Step:
    def step() -> None:
        network.zero_grad(set_to_none=True)
        sum(y.float().square().mean() for y in forward()).backward()

    return step


# Mode -> how it makes one iteration of a network and its forward pass.
MODES = {"infer": _infer, "train": _train}


@dataclass(frozen=True)
class Options:
    """How every model of a run is measured.

    Attributes:
        mode: A name in ``MODES``.
        device: ``cpu`` or ``cuda``.
        amp: A name in ``AMP``: the type of the autocast forward pass.
        channels_last: Give the pictures and the peers' weights in channels-last memory; ours
            computes in it in any case.
        compile: Run every model through ``torch.compile``.
        batch_size: Pictures per iteration.
        image_size: (height, width) in pixels.
        rounds: Number of interleaved rounds.
        threads: CPU threads; torch's own choice where it is None.
    """

    mode: str = "infer"
    device: str = "cpu"
    amp: str = "off"
    channels_last: bool = False
    compile: bool = False
    batch_size: int = 1
    image_size: tuple[int, int] = (512, 512)
    rounds: int = 10
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("device", ("cpu", "cuda")), ("amp", AMP)):
            if getattr(self, name) not in known:
                raise UserError(f"Unknown {name} {getattr(self, name)!r}: use {', '.join(known)}.")
        for name in ("batch_size", "rounds", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("torch finds no CUDA device here: use --device cpu.")


def make_step(network: nn.Module, options: Options) -> Step:
    """Makes one iteration of the mode, with everything it needs on the device."""
    network = network.to(options.device).train(options.mode == "train")
    pictures = torch.randn(options.batch_size, 3, *options.image_size, device=options.device)
    if options.channels_last:
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        if not isinstance(network, ConvNeXt):
            network = network.to(memory_format=torch.channels_last)
    if options.compile:
        network = torch.compile(network)
    dtype = AMP[options.amp]

    def forward() -> Sequence[torch.Tensor]:
        with torch.autocast(options.device, dtype) if dtype else nullcontext():
            return network(pictures)

    return MODES[options.mode](network, forward)
