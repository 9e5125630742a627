"""Counting parameters and multiply-adds on the meta device, without memory or data.

Multiply-adds are those of convolutions, linear layers and matrix products (attention included), as
in the paper. Norms, activations, pooling and resizing are not counted.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

INITIALISERS = {
    "kaiming_uniform_", "uniform_", "normal_", "erfinv_", "clamp_", "mul_", "add_", "fill_",
    "zero_",
}  # fmt: skip


class ShapesOnly(TorchFunctionMode):
    """Skips the initialisation of meta tensors, and computes ``torch.linspace`` on the CPU.

    Initial values cost time and do not exist on the meta device. Swin computes its drop path rates
    by ``torch.linspace``, and needs their values.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        elif getattr(func, "__name__", "") in INITIALISERS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Builds models on the meta device: tensors have shapes, but no memory."""
    with torch.device("meta"), ShapesOnly():
        yield


def count_parameters(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(run: Callable[[], Any]) -> int:
    """Multiply-adds of a function that runs a model."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    # torch counts a multiplication and an addition as two operations.
    return counter.get_total_flops() // 2


def count_classifier(network: nn.Module, side: int) -> int:
    """Multiply-adds of a network on the meta device for one image (3, side, side)."""
    return count_multiply_adds(lambda: network(torch.empty(1, 3, side, side, device="meta")))
