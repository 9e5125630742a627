"""Where an operator's kernels run, and what happens when one fails in the middle of a run."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class KernelWarning(UserWarning):
    """A kernel failed; torch's operations compute the same from here on."""


_failed: set[torch.device] = set()
_raising = False  # of the process: backward passes run in threads of their own


def interpreting() -> bool:
    """Whether Triton interprets its kernels in this process, which then run on a CPU.

    Asked of the environment: asking Triton would import it.
    """
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def capturing() -> bool:
    """Whether a CUDA graph is being captured: nothing may wait for the device, or read the host."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def with_fallback(
    kernel: str, like: Tensor, fused: Callable[[], Result], plain: Callable[[], Result]
) -> Result:
    """Computes by the kernels where they run, else by torch's operations.

    Kernels are launched on the tensors' device, whichever is the current one. An exception of
    Triton or of the driver is no reason to lose a training: the operator's result comes from
    torch's operations then, and so do all later ones on this device, with one warning.

    Args:
        kernel: The operator, for the warning.
        like: One of the tensors.
        fused: Launches the kernels.
        plain: Computes the same, without Triton.

    Raises:
        Exception: As it comes where it is no kernel's: too little memory, of which torch's
            operations would need more, or what a signal's handler raises. Any inside of
            :func:`raising`, and while a CUDA graph is captured: a size that was not computed before
            is tuned first, which waits for the device.
    """
    triton_runs = like.is_cuda or interpreting()
    if not triton_runs or like.device in _failed:
        return plain()
    try:
        with torch.cuda.device_of(like):  # nothing happens for a CPU's
            return fused()
    except Exception as error:
        if _raising or not _of_a_kernel(error) or (like.is_cuda and capturing()):
            raise
        _failed.add(like.device)
        warnings.warn(_message(kernel, like.device, error), KernelWarning, stacklevel=2)
    return plain()


@contextmanager
def raising() -> Iterator[None]:
    """Has failures raised instead: for trials, tests and measurements, which want to know."""
    global _raising
    before, _raising = _raising, True
    try:
        yield
    finally:
        _raising = before


def failed(device: torch.device) -> bool:
    """Whether a kernel has failed on a device in this process; without a number, on any of them."""
    return any(one.type == device.type and device.index in (None, one.index) for one in _failed)


def reset() -> None:
    """Gives the kernels another chance in this process."""
    _failed.clear()


def _of_a_kernel(error: Exception) -> bool:
    """Whether Triton, its compilers or the driver threw it: they throw built-in exceptions too."""
    text = str(error).lower()
    if any(words in text for words in ("out of memory", "can't allocate memory")):
        return False
    if isinstance(error, MemoryError | TimeoutError):  # an alarm's
        return False
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, RuntimeError) or library in ("builtins", "triton", "subprocess")


def _message(kernel: str, device: torch.device, error: Exception) -> str:
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device
    if "RANK" in os.environ:
        name = f"{name} of rank {os.environ['RANK']}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return (
        f"The fused kernel {kernel} failed on {name}: {reason}. This step and the rest of the run "
        "are computed by torch's own operations: slower, the same results; nothing is lost. Please "
        "report it to the project with this line and the output of tools/doctor.py; "
        "CONVNEXT_DENSE_KERNELS=0 leaves the kernels out from the start."
    )
