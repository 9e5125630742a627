"""Fused kernels for the ConvNeXt block on NVIDIA GPUs, in Triton: docs/kernels.md.

Importing this needs no Triton and no GPU; :func:`available` says whether the kernels can run.
"""

import torch
from torch import Tensor

from convnext_dense.kernels import operators
from convnext_dense.kernels.availability import Availability, available, usable

__all__ = ["Availability", "available", "block", "dwconv_norm", "mlp", "usable"]

# Up to this width the MLP is limited by memory traffic (8 C flops to 10 bytes, against 184 to 236
# flops per byte of H200 and H100), so that a fused epilogue saves more than Triton's matrix
# products lose to cuBLAS's. By count.
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
        ValueError: For shapes that do not fit: the kernels would read beyond the tensors.
    """
    if x.dim() != 4 or dw_w.shape != (x.shape[1], 1, 7, 7):
        raise ValueError(
            f"A feature map (N, C, H, W) with filters (C, 1, 7, 7) is needed, got {tuple(x.shape)} "
            f"and {tuple(dw_w.shape)}."
        )
    rows = x.permute(0, 2, 3, 1).contiguous()
    save = _needs_backward(rows, dw_w, dw_b, ln_w, ln_b)
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
        gamma: (C,); None means 1.
        fuse_expand: Compute the GELU and its gradient in Triton's matrix products; False uses
            ``F.linear`` and ``F.gelu``, None decides by C and dtype.
        fuse_project: The same for gamma and residual; False folds gamma into the weight.

    Returns:
        (N, H, W, C), contiguous.

    Raises:
        ValueError: For shapes that do not fit.
    """
    c = y.shape[-1]
    if residual.shape != y.shape or w1.shape[1] != c or w2.shape != (c, w1.shape[0]):
        shapes = [tuple(value.shape) for value in (y, residual, w1, w2)]
        raise ValueError(
            f"Feature maps (N, H, W, C), weights (D, C) and (C, D) are needed, got {shapes}."
        )
    # In TF32 and float32 Triton's matrix products are slower than cuBLAS's.
    half = torch.is_autocast_enabled(y.device.type) or y.dtype in (torch.bfloat16, torch.float16)
    fuse = half and y.shape[-1] <= FUSED_CHANNELS
    save = _needs_backward(y, residual, w1, b1, w2, b2, gamma)
    return operators.mlp(
        y, residual, w1, b1, w2, b2, gamma,
        fuse if fuse_expand is None else fuse_expand,
        fuse if fuse_project is None else fuse_project,
        save,
    )[0]  # fmt: skip


def block(
    x: Tensor, dw_w: Tensor, dw_b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float, w1: Tensor,
    b1: Tensor, w2: Tensor, b2: Tensor, gamma: Tensor | None, fuse_expand: bool | None = None,
    fuse_project: bool | None = None,
) -> Tensor:  # fmt: skip
    """A whole ConvNeXt block without stochastic depth: branch and residual.

    Args:
        x: (N, C, H, W); copied only where it is not channels-last. The result has its dtype: under
            autocast a float32 residual stream stays float32, and only the branch is cast.
        dw_w, dw_b, ln_w, ln_b, eps: See :func:`dwconv_norm`.
        w1, b1, w2, b2, gamma, fuse_expand, fuse_project: See :func:`mlp`.

    Returns:
        (N, C, H, W), channels-last.
    """
    rows = x.permute(0, 2, 3, 1).contiguous()
    y = dwconv_norm(rows.permute(0, 3, 1, 2), dw_w, dw_b, ln_w, ln_b, eps)
    out = mlp(y, rows, w1, b1, w2, b2, gamma, fuse_expand, fuse_project)
    return out.permute(0, 3, 1, 2)


def _needs_backward(*tensors: Tensor | None) -> bool:
    """Whether a backward pass may follow: only then the kernels write the tensors it reads."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
