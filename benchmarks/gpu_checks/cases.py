"""Settings of a block's computation as data, and functions that make blocks and inputs for them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convnext_dense import kernels
from convnext_dense.kernels import trial
from convnext_dense.models import Block

from .check import NotRun, first_tiles, tf32

# Small: on a GPU as in the trial, which is compiled anyway; in the interpreter a second.
WIDTH = {"cpu": 8, "cuda": trial.C}
SIZE = {"cpu": (3, 4), "cuda": trial.SIZE[2:]}
BF16, HALF, FLOAT = torch.bfloat16, torch.float16, torch.float32
# Allowed differences relative to a tensor's largest value. float32: sums in another order. TF32 and
# fp16 have 10 bits, bf16 has 7: a block's rounding errors add up to a few units of the last one.
TOLERANCES = {FLOAT: 1e-5, "tf32": 1e-2, HALF: 1e-2, BF16: 4e-2}


@dataclass(frozen=True)
class Case:
    """A setting of a block's computation.

    Attributes:
        dtype: Type of parameters and input.
        autocast: Its type; None for no autocast.
        tf32: Allow TF32.
        train: With gradients; else an evaluation in inference mode.
        batch, width, size: Shape of the input; None for the small one.
        layout: Memory format: channels ``last`` or ``first``, or ``strided``.
        gamma: With layer scale.
        frozen: Prefix of the parameters that get no gradient; with ``all`` only the input gets one.
        timed: Autotune over all tiles, as in real runs.
    """

    dtype: torch.dtype = FLOAT
    autocast: torch.dtype | None = None
    tf32: bool = False
    train: bool = True
    batch: int = 2
    width: int | None = None
    size: tuple[int, int] | None = None
    layout: str = "last"
    gamma: bool = True
    frozen: str | None = None
    timed: bool = False

    @property
    def tolerance(self) -> float:
        """The allowed difference: see ``TOLERANCES``."""
        return TOLERANCES["tf32" if self.tf32 else self.autocast or self.dtype]


CASES = {
    "train-float32": Case(),
    "eval-float32": Case(train=False),
    "train-tf32": Case(tf32=True),
    "eval-tf32": Case(tf32=True, train=False),
    "train-autocast-bf16": Case(autocast=BF16),
    "eval-autocast-bf16": Case(autocast=BF16, train=False),
    "train-autocast-fp16": Case(autocast=HALF),
    "eval-autocast-fp16": Case(autocast=HALF, train=False),
    "train-bf16": Case(dtype=BF16),
    "train-fp16": Case(dtype=HALF),
    "batch-0": Case(batch=0),
    "batch-0-eval": Case(batch=0, train=False),
    "batch-1": Case(batch=1),
    "channels-first": Case(layout="first"),
    "strided-map": Case(layout="strided"),
    "without-gamma": Case(gamma=False),
    "odd-size-1x1": Case(size=(1, 1)),
    "odd-size-5x9": Case(size=(5, 9)),
    "odd-size-13x3": Case(size=(13, 3)),
    **{
        f"frozen-{name}": Case(frozen=name)
        for name in ("dwconv", "norm", "pwconv1", "pwconv2", "gamma", "all")
    },
}
# Real widths and sizes, with autotuning over all tiles, as in runs on this GPU.
WIDE = {
    f"width-{width}-{'x'.join(map(str, size))}": Case(
        autocast=BF16, batch=batch, width=width, size=size, timed=True
    )
    for width, size, batch in (
        (96, (56, 56), 2),
        (384, (25, 42), 1),
        (768, (7, 7), 2),
        (2048, (3, 5), 1),
    )
}


def new_block(width: int, gamma: bool = True, drop_path: float = 0.0, **options) -> Block:
    """A block in which every parameter has an effect."""
    torch.manual_seed(0)
    block = Block(
        width, drop_path=drop_path, layer_scale_init_value=0.5 if gamma else 0.0, **options
    )
    for name, parameter in block.named_parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 1
        nn.init.normal_(parameter, mean=float(name == "norm.weight"), std=fan**-0.5 / 2)
    return block


def new_input(case: Case, device: str) -> Tensor:
    """A random input (N, C, H, W) in the case's memory format, as a leaf with a gradient."""
    shape = case.batch, case.width or WIDTH[device], *(case.size or SIZE[device])
    draw = torch.Generator().manual_seed(1)
    if case.layout == "strided":  # every second column of a wider tensor
        wide = torch.randn((*shape[:3], 2 * shape[3]), generator=draw).to(device, case.dtype)
        return wide[..., ::2].requires_grad_()
    form = torch.channels_last if case.layout == "last" else torch.contiguous_format
    x = torch.randn(shape, generator=draw).to(device, case.dtype)
    return x.to(memory_format=form).requires_grad_()


@contextmanager
def setting(case: Case, device: str) -> Iterator[None]:
    """Autocast, TF32 and tiles of a case."""
    cast = torch.autocast(device, case.autocast) if case.autocast else nullcontext()
    with tf32(case.tf32), nullcontext() if case.timed else first_tiles(device), cast:
        yield


def require(device: str, dtype: torch.dtype = FLOAT) -> None:
    """Skips a check where the kernels cannot run.

    Raises:
        NotRun: With the reason.
    """
    with first_tiles(torch.device(device).type):  # the first call makes a trial
        answer = kernels.available(device, dtype)
    if not answer:
        raise NotRun(answer.reason)
