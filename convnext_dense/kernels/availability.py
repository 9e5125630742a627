"""Whether the kernels run here, and if not, why."""

import functools
import importlib.util
import os
import warnings
from typing import NamedTuple

import torch

from convnext_dense.kernels.trial import failure

# What Ampere brought and the kernels count on: bf16 matrix products.
CAPABILITY = (8, 0)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SWITCH = "CONVNEXT_DENSE_KERNELS"


class Availability(NamedTuple):
    """Truth of the answer, and the reason where it is no."""

    ok: bool
    reason: str

    def __bool__(self) -> bool:
        return self.ok


def available(
    device: torch.device | str = "cuda", dtype: torch.dtype = torch.bfloat16
) -> Availability:
    """Whether the Triton kernels run on a device.

    Args:
        device: Where the tensors are.
        dtype: What they are computed in.

    Returns:
        A truth value with ``reason``: one sentence where it is false, else empty. Before the first
        yes a small block is computed on the device, and compared with torch's.
    """
    device = torch.device(device)
    reason = _reason(device.type, device.index, dtype)
    return Availability(not reason, reason)


@torch.compiler.assume_constant_result
def usable(device_type: str, device_index: int | None, dtype: torch.dtype) -> bool:
    """As :func:`available`, for use inside of a compiled model: the answer becomes a constant."""
    return not _reason(device_type, device_index, dtype)


@functools.lru_cache
def _reason(device_type: str, device_index: int | None, dtype: torch.dtype) -> str:
    if os.environ.get(SWITCH, "1") == "0":
        return f"The kernels are switched off: {SWITCH} is 0."
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with torch for Linux with CUDA."
    if device_type != "cuda":
        return f"The kernels are for NVIDIA GPUs; the tensors are on {device_type}."
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return "There is no CUDA device that torch can use."
    capability = torch.cuda.get_device_capability(device_index)
    if capability < CAPABILITY:
        return (
            f"The GPU's compute capability is {'.'.join(map(str, capability))}; the kernels need "
            f"{'.'.join(map(str, CAPABILITY))}."
        )
    if dtype not in DTYPES:
        return f"The kernels compute in float32, bfloat16 and float16, not in {dtype}."
    reason = failure(torch.device(device_type, device_index), dtype)
    if reason:
        warnings.warn(f"{reason} The plain path is taken: slower, the same results.", stacklevel=2)
    return reason
