"""One iteration of each mode, and the options under which it runs.

``infer`` is a forward pass in inference mode. ``train`` is a forward and a backward pass of the sum
of the maps' mean squares, or of a classifier's cross-entropy, without an optimizer, whose step
costs both sides the same. ``detect`` and ``segment`` go from pictures in bytes to results.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from convnext_dense.benchmark.timing import Step
from convnext_dense.benchmark.whole_models import WholeModel
from convnext_dense.errors import UserError
from convnext_dense.models import IsotropicConvNeXt, StagedNetwork

AUTO = "auto"  # the batch size that fits
AMP = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}

Output = torch.Tensor | Sequence[torch.Tensor]  # logits, or maps
Forward = Callable[[], Output]


def _infer(network: nn.Module, forward: Forward) -> Step:
    return torch.inference_mode()(forward)


def _train(network: nn.Module, forward: Forward) -> Step:
    def step() -> None:
        network.zero_grad(set_to_none=True)
        _loss(forward()).backward()

    return step


def _loss(output: Output) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        labels = torch.arange(len(output), device=output.device) % output.shape[1]
        return F.cross_entropy(output.float(), labels)
    return sum(y.float().square().mean() for y in output)


# Mode -> how it makes one iteration of a network and its forward pass.
MODES = {"infer": _infer, "train": _train, "detect": _infer, "segment": _infer}


@dataclass(frozen=True)
class Options:
    """How every model of a run is measured.

    Attributes:
        mode: A name in ``MODES``.
        device: ``cpu`` or ``cuda``.
        amp: A name in ``AMP``: the type of the autocast forward pass.
        channels_last: Give the pictures and the peers' weights in channels-last memory; ours
            computes in it in any case.
        compile: Run every model through ``torch.compile``; of detectors and segmentors the
            backbone, since the shapes behind it change with every picture.
        batch_size: Pictures per iteration; ``auto`` for the largest power of two that fits.
        image_size: (height, width) in pixels; None for the model's own.
        rounds: Number of interleaved rounds.
        threads: CPU threads; torch's own choice where it is None.
        num_classes: Of the peers of a classifier; None compares maps. Known once ours is built.
    """

    mode: str = "infer"
    device: str = "cpu"
    amp: str = "off"
    channels_last: bool = False
    compile: bool = False
    batch_size: int | str = 1
    image_size: tuple[int, int] | None = (512, 512)
    rounds: int = 10
    threads: int | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("mode", MODES), ("device", ("cpu", "cuda")), ("amp", AMP)):
            if getattr(self, name) not in known:
                raise UserError(f"Unknown {name} {getattr(self, name)!r}: use {', '.join(known)}.")
        for name in ("batch_size", "rounds", "threads"):
            value = getattr(self, name)
            if value not in (None, AUTO) and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("torch finds no CUDA device here: use --device cpu.")
        if self.device == "cpu" and self.batch_size == AUTO:
            raise UserError(
                "--batch-size auto looks for what fits into a GPU's memory, and a CPU's machine "
                "swaps or kills instead of saying no: give a number."
            )


def make_step(network: nn.Module, options: Options) -> Step:
    """Makes one iteration of the mode, with everything it needs on the device."""
    network = network.to(options.device).train(options.mode == "train")
    whole = isinstance(network, WholeModel)
    if whole:
        inputs = network.batch(options.batch_size, options.image_size)
        network.let_candidates_pass(inputs)
    else:
        inputs = torch.randn(options.batch_size, 3, *options.image_size, device=options.device)
    if options.channels_last:
        if not whole:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if not isinstance(network, StagedNetwork | IsotropicConvNeXt):
            network = network.to(memory_format=torch.channels_last)
    if options.compile and whole:
        network.model.backbone.compile()
    elif options.compile:
        network = torch.compile(network)
    dtype = AMP[options.amp]

    def forward() -> Output:
        with torch.autocast(options.device, dtype) if dtype else nullcontext():
            return network(inputs)

    return MODES[options.mode](network, forward)
