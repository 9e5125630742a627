"""The block's MLP and its gradients: each product by Triton with its epilogue, or by cuBLAS.

Parameters come in their own dtype (float32 under autocast) and are cast here, so that their
gradients are float32 sums that nothing has rounded. Triton is imported where it is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


def forward(
    y: Tensor, residual: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor,
    gamma: Tensor | None, fuse_expand: bool, fuse_project: bool, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The operator ``mlp`` on (M, C) rows; see :mod:`convnext_dense.kernels.operators`."""
    if fuse_expand:
        from convnext_dense.kernels import products

        g, h = products.expand(y, w1.to(y.dtype), b1, save)
    else:
        h = F.linear(y, w1.to(y.dtype), b1.to(y.dtype))
        g = F.gelu(h)
    if fuse_project:
        from convnext_dense.kernels import products

        return products.project(g, w2.to(y.dtype), b2, gamma, residual), h
    weight, scale = folded(w2, gamma, y.dtype)
    bias = b2 if gamma is None or scale is not None else gamma * b2
    branch = F.linear(g, weight, bias.to(y.dtype))
    if scale is not None:
        branch = scale * branch
    return (residual + branch).to(residual.dtype), h


def folded(w: Tensor, gamma: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The projection's weight with gamma in its rows, cast after the product.

    Returns:
        The weight, and the gamma that is left to apply, in its own precision: float16 cannot hold
        1e-6 times a weight.
    """
    if gamma is None:
        return w.to(dtype), None
    if dtype == torch.float16:
        return w.to(dtype), gamma
    return (gamma[:, None] * w).to(dtype), None


def backward(
    grad: Tensor, y: Tensor, h: Tensor, w1: Tensor, w2: Tensor, b2: Tensor, gamma: Tensor | None,
    fuse_expand: bool, need_y: bool, need_parameters: bool, by_triton: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of y, w1, b1, w2, b2 and gamma, those of parameters in the parameters' dtype.

    GELU(h) is computed again with the gradient of h, in one pass (three of plain torch without
    ``by_triton``). What is not needed is empty.
    """
    weight, scale = folded(w2, gamma, y.dtype)
    # Rounded to 16 bits after gamma, as autograd does: a scaled loss overflows float16 before it.
    inner = (grad if scale is None else grad * scale).to(y.dtype)
    if fuse_expand:
        from convnext_dense.kernels import products

        dh, g, db1 = products.gelu_gradient_of_product(inner, weight, h)
    elif by_triton:
        from convnext_dense.kernels import products

        dh, g, db1 = products.gelu_gradient(inner @ weight, h)
    else:
        dh, g = torch.ops.aten.gelu_backward(inner @ weight, h), F.gelu(h)
        db1 = dh.sum(0, dtype=_wide(h.dtype))
    dy = dh @ w1.to(y.dtype) if need_y else y.new_empty(0)
    if not need_parameters:
        return dy, *(y.new_empty(0) for _ in range(5))
    return dy, *_of_parameters(grad, inner, dh, g, y, db1, w1, w2, b2, gamma)


def _of_parameters(
    grad: Tensor, inner: Tensor, dh: Tensor, g: Tensor, y: Tensor, db1: Tensor, w1: Tensor,
    w2: Tensor, b2: Tensor, gamma: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of w1, b1, w2, b2 and gamma (empty where there is none)."""
    dw1 = _product(dh.t(), y)
    db2 = grad.sum(0, dtype=_wide(y.dtype))
    # Of the projection with gamma in its weight; gamma's gradient then is a sum over its row.
    if gamma is None or y.dtype != torch.float16:
        dw2 = _product(inner.t(), g)
    else:
        d, unit = _in_range(grad)
        dw2 = _product(d.t(), g) * unit
    dgamma = grad.new_empty(0)
    if gamma is not None:
        dgamma = ((dw2 * w2).sum(1) + db2 * b2).to(gamma.dtype)
        dw2, db2 = dw2 * gamma[:, None], db2 * gamma
    return (
        dw1.to(w1.dtype), db1.to(b2.dtype), dw2.to(w2.dtype), db2.to(b2.dtype), dgamma
    )  # fmt: skip


def _in_range(grad: Tensor) -> tuple[Tensor, Tensor]:
    """A gradient in float16 in a unit in which its largest value is 1, and the unit.

    Without gamma, which is small, the gradient of a loss that was scaled by 65536 overflows.
    """
    largest = grad.abs().amax() if grad.numel() else grad.new_ones(())
    unit = largest.float().clamp(min=torch.finfo(torch.float32).tiny)
    return (grad / unit).to(torch.float16), unit


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b with a result in at least float32: a weight's gradient is not rounded to 16 bits."""
    if a.dtype not in HALF:
        return torch.mm(a, b)
    if a.is_cuda and a.numel():
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a.float(), b.float())
