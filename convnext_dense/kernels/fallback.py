"""The kernels' results by torch's operators: on a CPU, after a failure, for second derivatives."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dwconv_norm(
    x: Tensor, w: Tensor, b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Depthwise 7x7, bias, LayerNorm: the result and the convolution's output, (N, H, W, C)."""
    planes = x.permute(0, 3, 1, 2)
    conv = F.conv2d(planes, w.to(x.dtype), b.to(x.dtype), padding=3, groups=len(w))
    conv = conv.permute(0, 2, 3, 1)
    y = F.layer_norm(conv, conv.shape[-1:], ln_w.to(x.dtype), ln_b.to(x.dtype), eps)
    return y, conv


def convolve_and_normalise(
    x: Tensor, w: Tensor, b: Tensor, ln_w: Tensor, ln_b: Tensor, eps: float, save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`convnext_dense.kernels.depthwise.convolve_and_normalise`."""
    y, conv = (value.contiguous() for value in dwconv_norm(x, w, b, ln_w, ln_b, eps))
    conv = conv if save else conv.new_empty((0, *conv.shape[1:]))
    wide = conv.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.mean(-1)
    variance = (wide - mean[..., None]).square().mean(-1)
    return y, conv, mean, (variance + eps).rsqrt()


def dwconv_norm_gradients(
    grad: Tensor, x: Tensor, conv: Tensor, mean: Tensor, rstd: Tensor, w: Tensor, ln_w: Tensor,
    need_x: bool, need_w: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor]:  # fmt: skip
    """Gradients of x, of the filters, and of (gain, shift, bias) as (3, C); None if not needed."""
    normalised = (conv.to(mean.dtype) - mean[..., None]) * rstd[..., None]
    grad = grad.to(mean.dtype)
    gain, shift = (grad * normalised).sum((0, 1, 2)), grad.sum((0, 1, 2))
    inner = grad * ln_w.to(mean.dtype)
    along = (inner * normalised).mean(-1, keepdim=True)
    inner = (inner - inner.mean(-1, keepdim=True) - normalised * along) * rstd[..., None]
    vectors = torch.stack([gain, shift, inner.sum((0, 1, 2))])
    planes, inner = (t.to(x.dtype).permute(0, 3, 1, 2) for t in (x, inner))
    filters, options = w.to(x.dtype), dict(padding=3, groups=len(w))
    dx = dw = None
    if need_x:
        dx = torch.nn.grad.conv2d_input(planes.shape, filters, inner, **options)
        dx = dx.permute(0, 2, 3, 1).contiguous()
    if need_w:
        dw = torch.nn.grad.conv2d_weight(planes, filters.shape, inner, **options)
    return dx, dw, vectors


def mlp(
    y: Tensor, residual: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor,
    gamma: Tensor | None,
) -> Tensor:  # fmt: skip
    """residual + gamma * (GELU(y w1^T + b1) w2^T + b2), (N, H, W, C), in the residual's dtype."""
    w1, b1, w2, b2 = (value.to(y.dtype) for value in (w1, b1, w2, b2))
    branch = F.linear(F.gelu(F.linear(y, w1, b1)), w2, b2)
    return (residual + (branch if gamma is None else gamma * branch)).to(residual.dtype)
