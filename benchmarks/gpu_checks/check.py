"""The class of checks, the comparison of results, and a guard on the operators that run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

FUSED = "convnext_dense::"  # prefix of the names of the kernels' operators

Results = Mapping[str, Tensor]


@dataclass(frozen=True)
class Check:
    """One named check.

    Attributes:
        name: ``group/what-is-checked``; the checks of a group share a process.
        run: Takes the device, ``cuda`` or ``cpu``. Returns where the check passes, raises
            :class:`NotRun` where it cannot run, and another exception where it fails.
        cheap: Whether the default tests run it too, in Triton's interpreter.
    """

    name: str
    run: Callable[[str], None]
    cheap: bool = False


class NotRun(Exception):
    """The check cannot run here; the message is the reason, one sentence."""


def compare(
    actual: Results, exact: Results, tolerance: float, plain_results: Results | None = None
) -> None:
    """Compares results with exact ones, on the CPU in float64.

    Args:
        actual, exact: Tensors by name.
        tolerance: The allowed difference, relative to the tensor's largest exact value.
        plain_results: Results of plain torch in the type of ``actual``; twice their largest error
            is allowed in addition.

    Raises:
        AssertionError: For the first tensor with a larger difference or another shape.
    """
    assert actual.keys() == exact.keys(), f"The results are {[*actual]}, not {[*exact]}."
    for name, reference in exact.items():
        value, reference = (t.detach().cpu().double() for t in (actual[name], reference))
        assert value.shape == reference.shape, (
            f"The {name} is {tuple(value.shape)}, not {tuple(reference.shape)}."
        )
        if not reference.numel():
            continue
        error, scale = (value - reference).abs().max().item(), reference.abs().max().item()
        allowed = tolerance * scale
        if plain_results is not None:
            plain = plain_results[name].detach().cpu().double()
            allowed += 2 * (plain - reference).abs().max().item()
        unit = scale or 1.0
        # In this form NaN fails too.
        assert error <= allowed, (
            f"The {name} is off by {error / unit:.1e} of its largest value; "
            f"{allowed / unit:.1e} is allowed."
        )


@contextmanager
def expect_fused_path(taken: bool = True) -> Iterator[None]:
    """Checks that the kernels' operators run inside, or with ``taken=False`` that they do not.

    Eager or compiled, forward and backward.

    Raises:
        AssertionError: Where the other path was taken.
    """
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        yield
    ran = any(event.name.startswith(FUSED) for event in profiler.events())
    assert ran == taken, (
        "The fused kernels did not run here: this is the plain path."
        if taken
        else "The fused kernels ran where the plain path must be taken."
    )


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allows TF32 in matrix products and convolutions, or not; its errors reach 1e-3."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


@contextmanager
def first_tiles(device: str) -> Iterator[None]:
    """Uses the first of the kernels' tiles without autotuning: only a quarter is compiled.

    torch then fills new memory with NaN, which shows values that are read before they are written.
    """
    before = torch.are_deterministic_algorithms_enabled()
    try:
        # Only a warning, since torch's operators around the kernels may have no such algorithm.
        torch.use_deterministic_algorithms(device == "cuda" or before, warn_only=True)
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def only_on_gpu(device: str, reason: str) -> None:
    """Skips a check that cannot run on a CPU.

    Raises:
        NotRun: On a CPU.
    """
    if device != "cuda":
        raise NotRun(reason)
