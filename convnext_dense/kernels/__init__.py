"""Fused kernels for the ConvNeXt block on NVIDIA GPUs, in Triton: docs/kernels.md.

Importing this needs no Triton and no GPU; :func:`available` says whether they can be called.
"""

import torch
from torch import Tensor

from convnext_dense.kernels import operators
from convnext_dense.kernels.availability import Availability, available, usable

__all__ = ["Availability", "available", "block", "dwconv_norm", "mlp", "usable"]

# Up to here memory traffic outweighs the products (8 C flops to 10 bytes against 184 to 236 of the
# H200 and H100), so an epilogue saves more than Triton's products lose to cuBLAS's. Counted.
FUSED_CHANNELS = 512


def dwconv_norm(
    x: Tensor, dw_w: Tensor, dw_b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float
) -> Tensor:
    """Depthwise 7x7 convolution (padding 3) with bias, and LayerNorm over the channels.

    Args:
        x: (N, C, H, W); copied only where it is not channels-last.
        dw_w: (C, 1, 7, 7).
        dw_b, ln_w, ln_b: (C,).
        eps: Added to the variance.

    Returns:
        (N, H, W, C), contiguous, in the dtype of ``x``; under autocast in autocast's.

    Raises:
        ValueError: For shapes that do not fit: the kernels would read what lies beside them.
    """
    if x.dim() != 4 or dw_w.shape != (x.shape[1], 1, 7, 7):
        raise ValueError(
            f"A map (N, C, H, W) with filters (C, 1, 7, 7) is needed, got {tuple(x.shape)} and "
            f"{tuple(dw_w.shape)}."
        )
    rows = x.permute(0, 2, 3, 1).contiguous()
    save = _differentiates(rows, dw_w, dw_b, ln_w, ln_b)
    return operators.dwconv_norm(rows, dw_w, dw_b, ln_w, ln_b, eps, save)[0]


def mlp(
    y: Tensor, residual: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor,
    gamma: Tensor | None, fuse_expand: bool | None = None, fuse_project: bool | None = None,
) -> Tensor:  # fmt: skip
    """residual + gamma * (GELU(y w1^T + b1) w2^T + b2) with the exact (erf) GELU.

    Args:
        y: (N, H, W, C).
        residual: Of the same shape; the result has its dtype.
        w1, b1: (4C, C), (4C,).
        w2, b2: (C, 4C), (C,).
        gamma: (C,); None is a gamma of 1.
        fuse_expand: The GELU and its gradient in Triton products; False is ``F.linear`` and
            ``F.gelu``, None decides by C and dtype.
        fuse_project: Likewise gamma and residual; False folds gamma into the weight.

    Returns:
        (N, H, W, C), contiguous.

    Raises:
        ValueError: For shapes that do not fit.
    """
    c = y.shape[-1]
    if residual.shape != y.shape or w1.shape[1] != c or w2.shape != (c, w1.shape[0]):
        shapes = [tuple(value.shape) for value in (y, residual, w1, w2)]
        raise ValueError(f"Maps (N, H, W, C), weights (D, C) and (C, D) are needed, got {shapes}.")
    # TF32 and float32 products of Triton do not reach cuBLAS's.
    half = torch.is_autocast_enabled(y.device.type) or y.dtype in (torch.bfloat16, torch.float16)
    rule = half and y.shape[-1] <= FUSED_CHANNELS
    save = _differentiates(y, residual, w1, b1, w2, b2, gamma)
    return operators.mlp(
        y, residual, w1, b1, w2, b2, gamma,
        rule if fuse_expand is None else fuse_expand,
        rule if fuse_project is None else fuse_project,
        save,
    )[0]  # fmt: skip


def block(
    x: Tensor, dw_w: Tensor, dw_b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float, w1: Tensor,
    b1: Tensor, w2: Tensor, b2: Tensor, gamma: Tensor | None, fuse_expand: bool | None = None,
    fuse_project: bool | None = None,
) -> Tensor:  # fmt: skip
    """A whole ConvNeXt block without stochastic depth: branch and residual.

    Args:
        x: (N, C, H, W); copied only where it is not channels-last. Its dtype is the stream's: a
            float32 stream stays float32 under autocast, the branch does not.
        dw_w, dw_b, ln_w, ln_b, eps: See :func:`dwconv_norm`.
        w1, b1, w2, b2, gamma, fuse_expand, fuse_project: See :func:`mlp`.

    Returns:
        (N, C, H, W), channels-last.
    """
    rows = x.permute(0, 2, 3, 1).contiguous()
    y = dwconv_norm(rows.permute(0, 3, 1, 2), dw_w, dw_b, ln_w, ln_b, eps)
    out = mlp(y, rows, w1, b1, w2, b2, gamma, fuse_expand, fuse_project)
    return out.permute(0, 3, 1, 2)


def _differentiates(*tensors: Tensor | None) -> bool:
    """Whether a backward will come: only then is written what it reads."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
