"""The precision in which the operators compute."""

import torch
from torch import Tensor


def at_least_float32(*tensors: Tensor) -> list[Tensor]:
    """Cast tensors to one type: float64 if one of them has it, float32 otherwise.

    torchvision's kernels need one type for all arguments and have no bfloat16 on the CPU (nms no
    float16 either); coordinates and sums over bins need more digits than half precision has.
    """
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    return [tensor.to(torch.float64 if double else torch.float32) for tensor in tensors]
