"""The block in plain torch, drawn parameters, and the distance between two sets of results."""

import torch
import torch.nn.functional as F

EPS = 1e-6


def parameters(c, gamma=True, dtype=torch.float32, device="cpu"):
    """Parameters of a block in the order of `kernels.block`, without eps."""
    shapes = [(c, 1, 7, 7), (c,), (c,), (c,), (4 * c, c), (4 * c,), (c, 4 * c), (c,), (c,)]
    fans = [7.0, 1, 1, 1, c**0.5, 1, (4 * c) ** 0.5, 1, 1]
    drawn = [
        (torch.randn(s, dtype=torch.float64) / f).to(device, dtype).requires_grad_()
        for s, f in zip(shapes, fans, strict=True)
    ]
    return drawn if gamma else [*drawn[:-1], None]


def dwconv_norm(x, w, b, ln_w, ln_b):
    y = F.conv2d(x, w, b, padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
    return F.layer_norm(y, y.shape[-1:], ln_w, ln_b, EPS)


def mlp(y, residual, w1, b1, w2, b2, gamma):
    branch = F.linear(F.gelu(F.linear(y, w1, b1)), w2, b2)
    return residual + (branch if gamma is None else gamma * branch)


def block(x, w, b, ln_w, ln_b, *others):
    y = dwconv_norm(x, w, b, ln_w, ln_b)
    return mlp(y, x.permute(0, 2, 3, 1), *others).permute(0, 3, 1, 2)


def results(function, inputs, seed=1):
    """Output and the gradients of all inputs, for a drawn gradient of the output."""
    inputs = [value for value in inputs if value is not None]
    out = function()
    generator = torch.Generator().manual_seed(seed)
    grad = torch.randn(out.shape, generator=generator).to(out)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def distances(ours, theirs):
    """Greatest difference of each pair, relative to the greatest value of the second."""
    return [
        ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()
        for a, b in zip(ours, theirs, strict=True)
    ]
