"""The block's MLP and its gradients: matrix products by Triton with an epilogue, or by cuBLAS.

Parameters are passed in their own dtype (float32 under autocast) and cast here, so that their
gradients are float32 sums without intermediate rounding. Triton is imported where it is used.
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
    weight, scale = fold_gamma(w2, gamma, y.dtype)
    bias = b2 if gamma is None or scale is not None else gamma * b2
    branch = F.linear(g, weight, bias.to(y.dtype))
    if scale is not None:
        branch = scale * branch
    return (residual + branch).to(residual.dtype), h


def fold_gamma(w: Tensor, gamma: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The projection's weight with gamma in its rows, cast after the product.

    Returns:
        The weight, and gamma where it still has to be applied, in its own precision: float16 cannot
        represent 1e-6 times a weight.
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

    GELU(h) is recomputed together with the gradient of h, in one pass (in three by torch without
    ``by_triton``). Gradients that are not needed are empty.
    """
    weight, scale = fold_gamma(w2, gamma, y.dtype)
    # Rounded to 16 bits after the product with gamma, as autograd does: before it, the gradient of
    # a scaled loss overflows float16.
    inner = (grad if scale is None else grad * scale).to(y.dtype)
    if fuse_expand:
        from convnext_dense.kernels import products

        dh, g, db1 = products.gelu_gradient_of_product(inner, weight, h)
    elif by_triton:
        from convnext_dense.kernels import products

        dh, g, db1 = products.gelu_gradient(inner @ weight, h)
    else:
        dh, g = torch.ops.aten.gelu_backward(inner @ weight, h), F.gelu(h)
        db1 = dh.sum(0, dtype=_at_least_float32(h.dtype))
    dy = dh @ w1.to(y.dtype) if need_y else y.new_empty(0)
    if not need_parameters:
        return dy, *(y.new_empty(0) for _ in range(5))
    return dy, *_parameter_gradients(grad, inner, dh, g, y, db1, w1, w2, b2, gamma)


def _parameter_gradients(
    grad: Tensor, inner: Tensor, dh: Tensor, g: Tensor, y: Tensor, db1: Tensor, w1: Tensor,
    w2: Tensor, b2: Tensor, gamma: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of w1, b1, w2, b2 and gamma (empty where there is none)."""
    dw1 = _product(dh.t(), y)
    db2 = grad.sum(0, dtype=_at_least_float32(y.dtype))
    # The gradient of the weight that includes gamma; gamma's gradient is a sum over its rows.
    if gamma is None or y.dtype != torch.float16:
        dw2 = _product(inner.t(), g)
    else:
        scaled, largest = _scale_to_float16(grad)
        dw2 = _product(scaled.t(), g) * largest
    dgamma = grad.new_empty(0)
    if gamma is not None:
        dgamma = ((dw2 * w2).sum(1) + db2 * b2).to(gamma.dtype)
        dw2, db2 = dw2 * gamma[:, None], db2 * gamma
    return (
        dw1.to(w1.dtype), db1.to(b2.dtype), dw2.to(w2.dtype), db2.to(b2.dtype), dgamma
    )  # fmt: skip


def _scale_to_float16(grad: Tensor) -> tuple[Tensor, Tensor]:
    """A gradient divided by its largest value, in float16, and that value.

    Without gamma, which is small, the gradient of a loss that is scaled by 65536 overflows.
    """
    largest = grad.abs().amax() if grad.numel() else grad.new_ones(())
    largest = largest.float().clamp(min=torch.finfo(torch.float32).tiny)
    return (grad / largest).to(torch.float16), largest


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b with a result in at least float32: a weight's gradient is not rounded to 16 bits."""
    if a.dtype not in HALF:
        return torch.mm(a, b)
    if a.is_cuda and a.numel():
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a.float(), b.float())
