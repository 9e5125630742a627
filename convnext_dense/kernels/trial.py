"""A trial of the kernels: one small block, compared with torch on the same device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.kernels import failures

C, SIZE = 40, (2, 40, 9, 11)
# Allowed errors relative to the largest value, against torch in float32: the rounding errors of
# 16-bit types add up over the block, and float32 may use TF32.
TOLERANCES = {torch.float32: 1e-2, torch.bfloat16: 5e-2, torch.float16: 1e-2}


def find_failure(device: torch.device, dtype: torch.dtype) -> str:
    """Computes a block and its gradients with the kernels and with torch.

    Returns:
        A sentence where the kernels cannot be compiled or run, or are wrong; else "".
    """
    from convnext_dense import kernels

    draw = torch.Generator().manual_seed(0)
    shapes = SIZE, (C, 1, 7, 7), (C,), (C,), (C,), (4 * C, C), (4 * C,), (C, 4 * C), (C,), (C,)
    try:
        with (
            failures.raise_kernel_errors(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            values = [torch.randn(shape, generator=draw) / 4 for shape in shapes]
            results = _run(kernels.block, [v.to(device, dtype) for v in values])
            expected = _run(_plain, [v.to(device) for v in values])
            # Stochastic depth that keeps no sample makes an empty batch.
            empty = [values[0][:0], *values[1:]]
            empty_results = _run(kernels.block, [v.to(device, dtype) for v in empty])
    except Exception as error:  # compilers and drivers raise exceptions of many types
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"The Triton kernels do not run on this GPU ({reason})."
    if any(value.any() for value in empty_results):
        return "The Triton kernels are wrong on this GPU: an empty batch has gradients."
    for result, reference in zip(results, expected, strict=True):
        error = (result.float() - reference).abs().max() / reference.abs().max()
        if not error < TOLERANCES[dtype]:  # also where it is NaN
            error = float(error)
            return f"The Triton kernels are wrong on this GPU: off by {error:.2g} in {dtype}."
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
