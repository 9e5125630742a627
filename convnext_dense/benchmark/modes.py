"""One iteration of each mode, and the options under which it runs.

``infer`` is a forward pass in inference mode. ``train`` is a forward and a backward pass of the sum
of the feature maps' mean squares, or of a classifier's cross-entropy, without an optimizer, whose
step costs all models the same. ``detect`` and ``segment`` go from uint8 images to results.
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

AUTO = "auto"  # the largest batch size that fits
AMP = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}

Output = torch.Tensor | Sequence[torch.Tensor]  # logits, or feature maps
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


# Mode -> function that makes an iteration from a network and its forward pass.
MODES = {"infer": _infer, "train": _train, "detect": _infer, "segment": _infer}


@dataclass(frozen=True)
class Options:
    """The measurement's options, the same for all models.

    Attributes:
        mode: A name in ``MODES``.
        device: ``cpu`` or ``cuda``.
        amp: A name in ``AMP``: the type of the autocast forward pass.
        channels_last: Use channels-last memory for the images and the peers' weights; our models
            always do.
        compile: Run every model through ``torch.compile``; of detectors and segmentors
            only the backbone, since the shapes after it change with every image.
        batch_size: Images per iteration; ``auto`` for the largest power of two that fits.
        image_size: (height, width) in pixels; None for the model's default.
        rounds: Number of interleaved rounds.
        threads: CPU threads; torch's own choice where it is None.
        num_classes: Classes of a classifier's peers; None compares feature maps. Set when our model
            is known.
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
                "--batch-size auto finds the largest batch that fits into a GPU's memory. On "
                "a CPU the system would swap or kill the process: give a number."
            )


def make_step(network: nn.Module, options: Options) -> Step:
    """Makes one iteration of the mode, with network and input on the device."""
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
