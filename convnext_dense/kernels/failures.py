"""Running an operator by its kernels, and by torch's operators after a kernel has failed."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class KernelWarning(UserWarning):
    """A kernel failed; torch's operators compute the same results from then on."""


_failed_devices: set[torch.device] = set()
_raise_errors = False  # a global, since backward passes run in threads of their own


def triton_interprets() -> bool:
    """Whether Triton interprets its kernels in this process, which then run on a CPU.

    Reads the environment: asking Triton would import it.
    """
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def capturing_cuda_graph() -> bool:
    """Whether a CUDA graph is being captured, when nothing may wait for the device."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def with_fallback(
    kernel: str, like: Tensor, fused: Callable[[], Result], plain: Callable[[], Result]
) -> Result:
    """Computes by the kernels where they run, else by torch's operators.

    Kernels are launched on the tensors' device, also where another device is the current one. An
    exception of Triton or of the driver does not end a training: this result and all later ones on
    this device are computed by torch's operators, with one warning.

    Args:
        kernel: The operator's name, for the warning.
        like: One of the tensors.
        fused: Launches the kernels.
        plain: Computes the same without Triton.

    Raises:
        Exception: Any exception that no kernel caused: out of memory, where torch's operators
            would need even more, or an exception of a signal handler. All exceptions inside
            :func:`raise_kernel_errors` and while a CUDA graph is captured: there a new size cannot
            be tuned, since tuning waits for the device.
    """
    triton_runs = like.is_cuda or triton_interprets()
    if not triton_runs or like.device in _failed_devices:
        return plain()
    try:
        with torch.cuda.device_of(like):  # without effect for a CPU tensor
            return fused()
    except Exception as error:
        captured = like.is_cuda and capturing_cuda_graph()
        if _raise_errors or captured or not _is_kernel_error(error):
            raise
        _failed_devices.add(like.device)
        warnings.warn(_message(kernel, like.device, error), KernelWarning, stacklevel=2)
    return plain()


@contextmanager
def raise_kernel_errors() -> Iterator[None]:
    """Raises kernel errors instead of falling back: for trials, tests and measurements."""
    global _raise_errors
    before, _raise_errors = _raise_errors, True
    try:
        yield
    finally:
        _raise_errors = before


def has_failed(device: torch.device) -> bool:
    """Whether a kernel has failed on a device in this process; without an index, on any device."""
    return any(
        failed.type == device.type and device.index in (None, failed.index)
        for failed in _failed_devices
    )


def forget_failures() -> None:
    """Lets the kernels run again in this process."""
    _failed_devices.clear()


def _is_kernel_error(error: Exception) -> bool:
    """Whether Triton, its compilers or the driver raised it: they raise built-in exceptions too."""
    text = str(error).lower()
    if any(words in text for words in ("out of memory", "can't allocate memory")):
        return False
    if isinstance(error, MemoryError | TimeoutError):  # of an alarm
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
        "are computed by torch's own operators: slower, the same results; nothing is lost. Please "
        "report it to the project with this line and the output of convnext-dense doctor; "
        "CONVNEXT_DENSE_KERNELS=0 disables the kernels from the start."
    )
