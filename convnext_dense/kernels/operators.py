"""The kernels as custom operators of torch, for compilation, checkpointing and autocast.

Importing this needs no Triton: it is imported when an operator runs on a GPU (or in the
interpreter); elsewhere, and after a failure, torch's own operators compute the same. All feature
maps are (N, H, W, C) and are copied where they are not contiguous. Under autocast feature maps are
cast as by F.linear. Parameters are not: the kernels cast them, so that gradients are not rounded.
Nor is the residual: the stream keeps its precision.

The fake implementations, from which torch.compile plans memory, have the shapes, types and strides
of the real results.
"""

import torch
from torch import Tensor

from convnext_dense.kernels import failures, fallback
from convnext_dense.kernels import mlp as mlp_rows
from convnext_dense.kernels.backward import gradients_by_autograd, needs_autograd

_library = torch.library.Library("convnext_dense", "FRAGMENT")


@torch.library.custom_op("convnext_dense::dwconv_norm", mutates_args=())
def dwconv_norm(
    x: Tensor, w: Tensor, b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float, save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depthwise 7x7, bias, LayerNorm: the result and, with ``save``, tensors for the backward."""
    arguments = x.contiguous(), w, b, ln_w, ln_b, eps, save

    def by_triton() -> tuple[Tensor, ...]:
        from convnext_dense.kernels import depthwise

        return depthwise.convolve_and_normalise(*arguments)

    def by_torch() -> tuple[Tensor, ...]:
        return fallback.convolve_and_normalise(*arguments)

    return failures.with_fallback(
        "dwconv_norm", x, by_triton if _fits_32_bit_offsets(x) else by_torch, by_torch
    )


def _fits_32_bit_offsets(x: Tensor) -> bool:
    """Whether the offsets inside one image fit in the kernels' 32 bits."""
    return x[:1].numel() < 2**31


@dwconv_norm.register_fake
def _(x, w, b, ln_w, ln_b, eps, save):
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    shape = x.shape if save else (0, *x.shape[1:])
    accuracy = torch.promote_types(x.dtype, torch.float32)
    conv = x.new_empty(shape)
    return y, conv, *(x.new_empty(shape[:3], dtype=accuracy) for _ in range(2))


@torch.library.custom_op("convnext_dense::dwconv_norm_backward", mutates_args=())
def dwconv_norm_backward(
    grad: Tensor, x: Tensor, conv: Tensor, mean: Tensor, rstd: Tensor, w: Tensor, ln_w: Tensor,
    need_x: bool, need_w: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, of the filters, and of (gain, shift, bias) as (3, C)."""
    grad, x = grad.contiguous(), x.contiguous()

    def by_triton() -> tuple[Tensor | None, Tensor | None, Tensor]:
        from convnext_dense.kernels import depthwise, norm

        inner, vectors = norm.norm_gradients(grad, conv, mean, rstd, ln_w)
        dx = depthwise.input_gradient(inner, w) if need_x else None
        return dx, depthwise.filter_gradient(x, inner) if need_w else None, vectors

    def by_torch() -> tuple[Tensor | None, Tensor | None, Tensor]:
        return fallback.dwconv_norm_gradients(grad, x, conv, mean, rstd, w, ln_w, need_x, need_w)

    fused = by_triton if _fits_32_bit_offsets(x) else by_torch
    dx, dw, vectors = failures.with_fallback("dwconv_norm_backward", x, fused, by_torch)
    if dx is None:
        dx = x.new_empty(0)
    # In the memory format of the filters, which optimizers and DDP expect of their gradient.
    return dx, w.new_empty(0) if dw is None else torch.empty_like(w).copy_(dw), vectors


@dwconv_norm_backward.register_fake
def _(grad, x, conv, mean, rstd, w, ln_w, need_x, need_w):
    dx = torch.empty_like(conv) if need_x else x.new_empty(0)
    dw = torch.empty_like(w) if need_w else w.new_empty(0)
    return dx, dw, mean.new_empty((3, x.shape[-1]))


def _dwconv_norm_setup(ctx, inputs, output):
    *tensors, ctx.eps, ctx.save = inputs
    _, conv, mean, rstd = output
    ctx.mark_non_differentiable(conv, mean, rstd)
    ctx.save_for_backward(*tensors, conv, mean, rstd)


def _dwconv_norm_backward(ctx, grad, *_):
    if not ctx.save:
        raise RuntimeError("convnext_dense::dwconv_norm has no gradient when called without save.")
    x, w, b, ln_w, ln_b, *saved = ctx.saved_tensors
    need_x, need_w = ctx.needs_input_grad[:2]
    if needs_autograd(grad):

        def function(*inputs: Tensor) -> Tensor:
            return fallback.dwconv_norm(*inputs, ctx.eps)[0]

        inputs = x, w, b, ln_w, ln_b
        return *gradients_by_autograd(function, inputs, grad, ctx.needs_input_grad), None, None
    dx, dw, vectors = dwconv_norm_backward(grad, x, *saved, w, ln_w, need_x, need_w)
    gain, shift, bias = (v.to(p.dtype) for v, p in zip(vectors, (ln_w, ln_b, b), strict=True))
    return dx if need_x else None, dw if need_w else None, bias, gain, shift, None, None


dwconv_norm.register_autograd(_dwconv_norm_backward, setup_context=_dwconv_norm_setup)


def _rows(x: Tensor) -> Tensor:
    """(M, C), contiguous: a reshape alone may be a view of another layout."""
    return x.reshape(-1, x.shape[-1]).contiguous()


@torch.library.custom_op("convnext_dense::mlp", mutates_args=())
def mlp(
    y: Tensor, residual: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor,
    gamma: Tensor | None, fuse_expand: bool, fuse_project: bool, save: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """residual + gamma * (GELU(y w1^T + b1) w2^T + b2), and with ``save`` the pre-activation."""
    arguments = _rows(y), _rows(residual), w1, b1, w2, b2, gamma
    out, h = failures.with_fallback(
        "mlp",
        y,
        lambda: mlp_rows.forward(*arguments, fuse_expand, fuse_project, save),
        lambda: mlp_rows.forward(*arguments, fuse_expand=False, fuse_project=False, save=save),
    )
    return out.view(residual.shape), h if save else h.new_empty(0)


@mlp.register_fake
def _(y, residual, w1, b1, w2, b2, gamma, fuse_expand, fuse_project, save):
    out = torch.empty_like(residual, memory_format=torch.contiguous_format)
    shape = (y.numel() // y.shape[-1], w1.shape[0]) if save else (0,)
    return out, y.new_empty(shape)


@torch.library.custom_op("convnext_dense::mlp_backward", mutates_args=())
def mlp_backward(
    grad: Tensor, y: Tensor, h: Tensor, w1: Tensor, w2: Tensor, b2: Tensor, gamma: Tensor | None,
    fuse_expand: bool, need_y: bool, need_parameters: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of y, w1, b1, w2, b2 and gamma; empty where not needed."""
    arguments = _rows(grad), _rows(y), h, w1, w2, b2, gamma
    needs = need_y, need_parameters
    dy, *others = failures.with_fallback(
        "mlp_backward",
        y,
        lambda: mlp_rows.backward(*arguments, fuse_expand, *needs, by_triton=True),
        lambda: mlp_rows.backward(*arguments, False, *needs, by_triton=False),
    )
    return dy.view(y.shape) if need_y else dy, *others


@mlp_backward.register_fake
def _(grad, y, h, w1, w2, b2, gamma, fuse_expand, need_y, need_parameters):
    dy = torch.empty_like(y, memory_format=torch.contiguous_format)
    if not need_parameters:
        return dy if need_y else y.new_empty(0), *(y.new_empty(0) for _ in range(5))
    parameters = (w1.new_empty(w1.shape), b2.new_empty(w1.shape[:1]), w2.new_empty(w2.shape))
    dgamma = grad.new_empty(0) if gamma is None else gamma.new_empty(gamma.shape)
    return dy if need_y else y.new_empty(0), *parameters, b2.new_empty(b2.shape), dgamma


def _mlp_setup(ctx, inputs, output):
    *tensors, ctx.fuse_expand, _, ctx.save = inputs
    ctx.mark_non_differentiable(output[1])
    y, _, *parameters = tensors
    ctx.save_for_backward(y, *parameters, output[1])


def _mlp_backward(ctx, grad, _):
    if not ctx.save:
        raise RuntimeError("convnext_dense::mlp has no gradient when called without save.")
    y, w1, b1, w2, b2, gamma, h = ctx.saved_tensors
    need_y, need_residual, *need_others = ctx.needs_input_grad[:7]
    if needs_autograd(grad):

        def branch(y: Tensor, *parameters: Tensor | None) -> Tensor:
            return fallback.mlp(y, y.new_zeros((), dtype=grad.dtype), *parameters)

        needed = need_y, *need_others
        dy, *others = gradients_by_autograd(branch, (y, w1, b1, w2, b2, gamma), grad, needed)
        return dy, grad if need_residual else None, *others, None, None, None
    dy, *others = mlp_backward(
        grad, y, h, w1, w2, b2, gamma, ctx.fuse_expand, need_y, any(need_others)
    )
    others = [value if need else None for value, need in zip(others, need_others, strict=True)]
    return dy if need_y else None, grad if need_residual else None, *others, None, None, None


mlp.register_autograd(_mlp_backward, setup_context=_mlp_setup)


def _register_autocast(op, name: str, device: str) -> None:
    """Casts the first argument, the feature map, to the type in which F.linear would compute."""

    def kernel(x: Tensor, *others):
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return op(x if x.dtype == torch.float64 else x.to(dtype), *others)

    _library.impl(name, kernel, f"Autocast{device.upper()}")


for _op, _name in ((dwconv_norm, "dwconv_norm"), (mlp, "mlp")):
    for _device in ("cuda", "cpu"):
        _register_autocast(_op, _name, _device)
