"""What a check is, how two sets of results are compared, and which operators ran."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

FUSED = "convnext_dense::"  # what the names of the kernels' operators begin with

Results = Mapping[str, Tensor]


@dataclass(frozen=True)
class Check:
    """One named check.

    Attributes:
        name: ``group/what-is-checked``; the checks of a group share a process.
        run: Takes the device, ``cuda`` or ``cpu``. Returns where the check holds, raises
            :class:`NotRun` where it cannot be made, and anything else where it does not hold.
        cheap: The default tests make it too, in Triton's interpreter.
    """

    name: str
    run: Callable[[str], None]
    cheap: bool = False


class NotRun(Exception):
    """The check cannot be made here; its text is the reason, one sentence."""


def compare(found: Results, exact: Results, band: float, beside: Results | None = None) -> None:
    """Compares results with exact ones, on the CPU in float64.

    Args:
        found, exact: Tensors by name.
        band: The allowed difference of a value, in shares of its tensor's largest exact one.
        beside: What plain torch gives in the type of ``found``; twice its greatest difference is
            allowed on top.

    Raises:
        AssertionError: With the first tensor that is further off, or has another shape.
    """
    assert found.keys() == exact.keys(), f"There is {[*found]}, and not {[*exact]}."
    for name, want in exact.items():
        got, want = (t.detach().cpu().double() for t in (found[name], want))
        assert got.shape == want.shape, (
            f"The {name} is {tuple(got.shape)}, not {tuple(want.shape)}."
        )
        if not want.numel():
            continue
        gap, scale = (got - want).abs().max().item(), want.abs().max().item()
        allowed = band * scale
        if beside is not None:
            allowed += 2 * (beside[name].detach().cpu().double() - want).abs().max().item()
        unit = scale or 1.0
        # Said so that also nan fails.
        assert gap <= allowed, (
            f"The {name} is off by {gap / unit:.1e} of its largest value; {allowed / unit:.1e} is "
            "allowed."
        )


@contextmanager
def fused(taken: bool = True) -> Iterator[None]:
    """Watches which operators run inside: eager or compiled, forward and backward.

    Raises:
        AssertionError: Where the kernels ran, or did not, and that was not expected.
    """
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as watched:
        yield
    ran = any(event.name.startswith(FUSED) for event in watched.events())
    assert ran == taken, (
        "The fused kernels did not run here: this is the plain path."
        if taken
        else "The fused kernels ran where the plain path must be taken."
    )


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """TF32 in matrix products and convolutions, or not; float32 is good to 1e-3 with it."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [one.allow_tf32 for one in backends]
    try:
        for one in backends:
            one.allow_tf32 = allowed
        yield
    finally:
        for one, value in zip(backends, before, strict=True):
            one.allow_tf32 = value


@contextmanager
def first_tiles(device: str) -> Iterator[None]:
    """Takes the first of the kernels' tiles instead of timing them all: a quarter is compiled.

    torch fills fresh memory with nan then, so what is read before it is written is seen.
    """
    before = torch.are_deterministic_algorithms_enabled()
    try:
        # Only a warning: operations of torch around the kernels may have no such algorithm.
        torch.use_deterministic_algorithms(device == "cuda" or before, warn_only=True)
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def only_on_gpu(device: str, why: str) -> None:
    """Ends a check that a CPU cannot make.

    Raises:
        NotRun: On a CPU.
    """
    if device != "cuda":
        raise NotRun(why)
