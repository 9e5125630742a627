"""The block's MLP and its gradients: each product by Triton with its epilogue, or by cuBLAS.

Parameters come in their own dtype (float32 under autocast) and are cast here, so that their
gradients are float32 sums that nothing has rounded. Triton is imported where it is used.
"""

import os

import torch
import torch.nn.functional as F
from torch import Tensor


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
        The weight, and the gamma that is left to apply: float16 cannot hold 1e-6 times a weight.
    """
    if gamma is None:
        return w.to(dtype), None
    if dtype == torch.float16:
        return w.to(dtype), gamma.to(dtype)
    return (gamma[:, None] * w).to(dtype), None


def backward(
    grad: Tensor, y: Tensor, h: Tensor, w1: Tensor, w2: Tensor, b2: Tensor, gamma: Tensor | None,
    fuse_expand: bool, need_y: bool, need_parameters: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of y, w1, b1, w2, b2 and gamma, those of parameters in the parameters' dtype.

    GELU(h) is computed again with the gradient of h, in one pass. What is not needed is empty.
    """
    d = grad.to(y.dtype)
    weight, scale = folded(w2, gamma, y.dtype)
    inner = d if scale is None else d * scale
    if fuse_expand:
        from convnext_dense.kernels import products

        dh, g, db1 = products.gelu_gradient_of_product(inner, weight, h)
    else:
        dh, g, db1 = _gelu_gradient(inner @ weight, h)
    dy = dh @ w1.to(y.dtype) if need_y else y.new_empty(0)
    if not need_parameters:
        none = y.new_empty(0)
        return dy, none, none.clone(), none.clone(), none.clone(), none.clone()
    dw1 = _product(dh.t(), y)
    # Of the folded projection; gamma's gradient then is a sum over its row (chain rule).
    dw2 = _product(d.t(), g)
    db2 = grad.sum(0, dtype=dw2.dtype)
    if gamma is None:
        dgamma = grad.new_empty(0)
    else:
        dgamma = ((dw2 * w2).sum(1) + db2 * b2).to(gamma.dtype)
        dw2, db2 = dw2 * gamma[:, None], db2 * gamma
    return (
        dy, dw1.to(w1.dtype), db1.to(b2.dtype), dw2.to(w2.dtype), db2.to(b2.dtype), dgamma
    )  # fmt: skip


def _gelu_gradient(grad: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One pass by Triton where it runs; three of plain torch elsewhere."""
    if h.is_cuda or os.environ.get("TRITON_INTERPRET") == "1":
        from convnext_dense.kernels import products

        return products.gelu_gradient(grad, h)
    dh = torch.ops.aten.gelu_backward(grad, h)
    return dh, F.gelu(h), dh.sum(0)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b with a result in at least float32: a weight's gradient is not rounded to 16 bits."""
    if a.is_cuda and a.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b)
