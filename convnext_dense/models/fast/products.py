"""Matrix products of the MLP on a CPU, by the library that is faster on this processor.

torch computes float32 products with MKL, which on AMD's processors reaches 130 to 180 GFLOP/s where
oneDNN, the library of its convolutions, reaches 160 to 207 (two cores of an EPYC with AVX-512,
docs/results.md). On other processors the products stay torch's own. The choice depends on the
processor and the shapes alone, never on a measurement: a resumed run has to repeat every bit.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense import processor

# With shorter rows oneDNN spends more time on rearranging than it gains.
MIN_INNER_SIZE = 192


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``.

    Args:
        x: (R, I).
        weight: (O, I), any strides.
        bias: (O,).

    Returns:
        (R, O).
    """
    if x.shape[-1] < MIN_INNER_SIZE or not uses_onednn(x):
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``gelu(x weight^T + bias)``; arguments as for :func:`linear`."""
    if not uses_onednn(x):
        return torch.ops.aten.gelu_(F.linear(x, weight, bias))
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")


def uses_onednn(x: Tensor) -> bool:
    """Whether products of this tensor are oneDNN's."""
    return x.dtype == torch.float32 and _onednn_is_faster() and torch.backends.mkldnn.enabled


@functools.cache
def _onednn_is_faster() -> bool:
    # The operator is inductor's; where a version of torch lacks it, products stay as they were.
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and processor.vendor() == processor.AMD
    )
