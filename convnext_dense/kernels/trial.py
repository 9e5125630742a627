"""One small block on the device, before the kernels are trusted with a model."""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.kernels import failures

C, SIZE = 40, (2, 40, 9, 11)
# Of the largest value, from float32 by torch: rounding of 16 bits adds up over the block.
BANDS = {torch.float32: 1e-2, torch.bfloat16: 5e-2, torch.float16: 1e-2}  # float32: TF32 products


def failure(device: torch.device, dtype: torch.dtype) -> str:
    """Computes a block and its gradients with the kernels and with torch.

    Returns:
        A sentence where the kernels cannot be compiled or run, or are wrong; else "".
    """
    from convnext_dense import kernels

    draw = torch.Generator().manual_seed(0)
    shapes = SIZE, (C, 1, 7, 7), (C,), (C,), (C,), (4 * C, C), (4 * C,), (C, 4 * C), (C,), (C,)
    try:
        with (
            failures.raising(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            values = [torch.randn(shape, generator=draw) / 4 for shape in shapes]
            found = _run(kernels.block, [v.to(device, dtype) for v in values])
            wanted = _run(_plain, [v.to(device) for v in values])
            # As stochastic depth that keeps no sample has it.
            nothing = [values[0][:0], *values[1:]]
            of_nothing = _run(kernels.block, [v.to(device, dtype) for v in nothing])
    except Exception as error:  # compilers and drivers throw what they like
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"The Triton kernels do not run on this GPU ({reason})."
    if any(value.any() for value in of_nothing):
        return "The Triton kernels are wrong on this GPU: a batch of no pictures has gradients."
    for got, want in zip(found, wanted, strict=True):
        gap = (got.float() - want).abs().max() / want.abs().max()
        if not gap < BANDS[dtype]:  # also where it is nan
            return f"The Triton kernels are wrong on this GPU: off by {float(gap):.2g} in {dtype}."
    return ""


def _run(block, values: list[Tensor]) -> list[Tensor]:
    """The output and all gradients."""
    values = [value.detach().requires_grad_() for value in values]
    x, dw_w, dw_b, ln_w, ln_b, w1, b1, w2, b2, gamma = values
    y = block(x, dw_w, dw_b, ln_w, ln_b, 1e-6, w1, b1, w2, b2, gamma)
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), values)]


def _plain(x, dw_w, dw_b, ln_w, ln_b, eps, w1, b1, w2, b2, gamma) -> Tensor:
    y = F.conv2d(x, dw_w, dw_b, padding=3, groups=C).permute(0, 2, 3, 1)
    y = F.linear(F.gelu(F.linear(F.layer_norm(y, (C,), ln_w, ln_b, eps), w1, b1)), w2, b2)
    return x + (gamma * y).permute(0, 3, 1, 2)
