"""Whether the kernels can run on a device, whether blocks use them, and the reason if not."""

import importlib.util
import os
import warnings
from typing import NamedTuple

import torch

from convnext_dense.errors import UserError
from convnext_dense.kernels import failures
from convnext_dense.kernels.trial import find_failure

# Ampere: the kernels need its bf16 matrix products.
MIN_CAPABILITY = (8, 0)
MIN_TORCH = (2, 9)  # matrix products with a float32 result, and the setting of their precision
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SWITCH = "CONVNEXT_DENSE_KERNELS"
# GPUs, by torch's name, on which the kernels are faster than torch's operators in
# docs/results.md. There blocks use them by default; a test compares this list with the document.
FASTER_ON: tuple[str, ...] = ()


class Availability(NamedTuple):
    """Whether the kernels can run, and the reason where they cannot; true or false as ``ok``."""

    ok: bool
    reason: str

    def __bool__(self) -> bool:
        return self.ok


def available(
    device: torch.device | str = "cuda", dtype: torch.dtype = torch.bfloat16
) -> Availability:
    """Whether the Triton kernels run on a device.

    Args:
        device: The tensors' device.
        dtype: The type of the computation.

    Returns:
        A truth value with ``reason``: one sentence where it is false, else empty. Before the first
        positive answer a small block is computed on the device and compared with torch's result.

    Raises:
        UserError: When ``CONVNEXT_DENSE_KERNELS`` is neither 0 nor 1.
    """
    device = torch.device(device)
    reason = _reason_unavailable(device.type, device.index, dtype)
    if failures.has_failed(device):
        reason = reason or "A kernel failed on this device earlier in this process."
    return Availability(not reason, reason)


@torch.compiler.assume_constant_result
def usable(device_type: str, device_index: int | None, dtype: torch.dtype) -> bool:
    """Whether blocks use the kernels: they are available, and enabled or measured to be faster.

    Inside a compiled model the answer becomes a constant. After a failure in the middle of a run it
    stays true: the operators then compute with torch's own operators, and tensors that were saved
    for a backward pass remain valid.

    Raises:
        UserError: As :func:`available`.
    """
    return kernels_requested(device_type, device_index) and not _reason_unavailable(
        device_type, device_index, dtype
    )


def kernels_requested(device_type: str, device_index: int | None = None) -> bool:
    """Whether blocks should use the kernels on a device, by the switch or by measurements.

    Raises:
        UserError: When the switch is neither 0 nor 1.
    """
    switch = read_switch()
    if switch is None and device_type == "cuda" and FASTER_ON and torch.cuda.is_available():
        return torch.cuda.get_device_name(device_index) in FASTER_ON
    return switch == "1"


def describe(device: torch.device, dtype: torch.dtype) -> str:
    """One sentence on the path of the blocks for a run's log; empty on a CPU by default.

    Raises:
        UserError: As :func:`available`.
    """
    if not kernels_requested(device.type, device.index):
        if device.type != "cuda":
            return ""
        if read_switch() == "0":
            return f"Blocks: torch's operators, since {SWITCH} is 0."
        return (
            f"Blocks: torch's operators. {SWITCH}=1 enables the fused kernels: by count, in 16 "
            "bits and up to 512 channels, 0.7 of the memory traffic in training and 0.45 in "
            "inference; not yet measured on this GPU (docs/kernels.md)."
        )
    answer = available(device, dtype)
    if answer:
        return f"Blocks: the fused kernels, in {str(dtype).removeprefix('torch.')}."
    return f"Blocks: torch's operators, though the kernels are enabled. {answer.reason}"


def read_switch() -> str | None:
    """``CONVNEXT_DENSE_KERNELS``: "1", "0", or None where it is unset or empty.

    Raises:
        UserError: For any other value.
    """
    value = os.environ.get(SWITCH) or None
    if value not in (None, "0", "1"):
        raise UserError(
            f"{SWITCH} must be 1 (use the fused kernels), 0 (never) or unset, got {value!r}."
        )
    return value


_reasons: dict[tuple, str] = {}


def _reason_unavailable(device_type: str, device_index: int | None, dtype: torch.dtype) -> str:
    if read_switch() == "0":
        return f"The kernels are switched off: {SWITCH} is 0."
    arguments = device_type, device_index, dtype
    key = *arguments, failures.triton_interprets()
    if key not in _reasons:
        if device_type == "cuda" and failures.capturing_cuda_graph():
            return "The kernels cannot be tried while a CUDA graph is captured."  # not remembered
        _reasons[key] = _find_reason(*arguments)
    return _reasons[key]


def _find_reason(device_type: str, device_index: int | None, dtype: torch.dtype) -> str:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with torch for Linux with CUDA."
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < MIN_TORCH:
        wanted = ".".join(map(str, MIN_TORCH))
        return f"The kernels need torch {wanted} or newer; this is {torch.__version__}."
    if dtype not in DTYPES:
        return f"The kernels compute in float32, bfloat16 and float16, not in {dtype}."
    if device_type == "cpu" and failures.triton_interprets():
        return ""  # for tests, which compare every path; a trial would take seconds
    if device_type != "cuda":
        return f"The kernels are for NVIDIA GPUs; the tensors are on {device_type}."
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return "There is no CUDA device that torch can use."
    capability = torch.cuda.get_device_capability(device_index)
    if capability < MIN_CAPABILITY:
        return (
            f"The GPU's compute capability is {'.'.join(map(str, capability))}; the kernels need "
            f"{'.'.join(map(str, MIN_CAPABILITY))}."
        )
    reason = find_failure(torch.device(device_type, device_index), dtype)
    if reason:
        warnings.warn(f"{reason} The plain path is used: slower, the same results.", stacklevel=2)
    return reason
