"""Triton: the MLP's matrix products with the operations after them as epilogues.

``gelu``: h = a b + bias, GELU(h). ``residual``: extra + gamma * (a b + bias).
``gradient``: from the gradient d = a b of GELU(h), with h in extra: d * GELU'(h), GELU(h) again,
and the partial sums of the bias gradient.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convnext_dense.kernels.partial_sums import sum_partials
from convnext_dense.kernels.tiles import (
    BM,
    INTERPRETED,
    PRODUCT,
    accumulator,
    autotuned,
    size_bucket,
)


@triton.jit
def _normal_cdf(h):
    return 0.5 * (1.0 + tl.erf(h * 0.7071067811865476))


@triton.jit
def _gelu_gradient(h, cdf):
    return cdf + h * 0.3989422804014327 * tl.exp(-0.5 * h * h)


@triton.jit
def _finish(
    sums, bias, gamma, extra, out, second, partial, rows, first, row_block, M,
    N: tl.constexpr, EPILOGUE: tl.constexpr, SAVE: tl.constexpr, GAMMA: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """The epilogue of the columns from `first` on: as many as `sums` has."""
    columns = first + tl.arange(0, sums.shape[1])
    mask = (rows < M)[:, None] & (columns < N)[None, :]
    there = rows[:, None] * N + columns[None, :]
    if EPILOGUE == "gradient":
        h = tl.load(extra + there, mask=mask, other=0.0).to(ACC)
        cdf = _normal_cdf(h)
        sums *= _gelu_gradient(h, cdf)
        tl.store(second + there, (h * cdf).to(second.dtype.element_ty), mask=mask)
        total = tl.sum(tl.where(mask, sums, 0.0), 0)
        tl.store(partial + row_block * N + columns, total, mask=columns < N)
    else:
        sums += tl.load(bias + columns, mask=columns < N, other=0.0).to(ACC)[None, :]
    if EPILOGUE == "gelu":
        if SAVE:
            tl.store(second + there, sums.to(second.dtype.element_ty), mask=mask)
        sums *= _normal_cdf(sums)
    if EPILOGUE == "residual":
        if GAMMA:
            sums *= tl.load(gamma + columns, mask=columns < N, other=0.0).to(ACC)[None, :]
        sums += tl.load(extra + there, mask=mask, other=0.0).to(ACC)
    tl.store(out + there, sums.to(out.dtype.element_ty), mask=mask)


@autotuned(PRODUCT, key=["N", "K", "SIZE", "EPILOGUE"])
@triton.jit(do_not_specialize=["M", "SIZE"])
def _product_kernel(
    a, b, bias, gamma, extra, out, second, partial, M, SIZE,
    N: tl.constexpr, K: tl.constexpr, STRIDE_K: tl.constexpr, STRIDE_N: tl.constexpr,
    EPILOGUE: tl.constexpr, SAVE: tl.constexpr, GAMMA: tl.constexpr, ACC: tl.constexpr,
    WIDE: tl.constexpr, PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    STEP: tl.constexpr,
):  # fmt: skip
    # Consecutive programs share the same rows of `a`, which stay in the L2 cache.
    across = tl.cdiv(N, BN)
    row_block = tl.program_id(0) // across
    first = tl.program_id(0) % across * BN
    columns = first + tl.arange(0, BN)
    rows = (row_block * BM + tl.arange(0, BM)).to(tl.int64)
    BK: tl.constexpr = STEP * 8 // a.dtype.element_ty.primitive_bitwidth
    inner = tl.arange(0, BK)
    sums = tl.zeros([BM, BN], ACC)
    for start in range(0, K, BK):
        k = start + inner
        left = tl.load(
            a + rows[:, None] * K + k[None, :],
            mask=(rows < M)[:, None] & (k < K)[None, :],
            other=0.0,
        )
        right = tl.load(
            b + k[:, None] * STRIDE_K + columns[None, :] * STRIDE_N,
            mask=(k < K)[:, None] & (columns < N)[None, :],
            other=0.0,
        )
        if WIDE:  # The interpreter reads the bits of a bfloat16 as an integer.
            left, right = left.to(ACC), right.to(ACC)
        sums = tl.dot(left, right, sums, input_precision=PRECISION, out_dtype=ACC)
    # One half after the other: for all columns at once, the gradient's epilogue would take more
    # registers than a thread has.
    halves = tl.split(tl.permute(tl.reshape(sums, [BM, 2, BN // 2]), [0, 2, 1]))
    for half in tl.static_range(2):
        _finish(
            halves[half],
            bias,
            gamma,
            extra,
            out,
            second,
            partial,
            rows,
            first + half * (BN // 2),
            row_block,
            M,
            N,
            EPILOGUE,
            SAVE,
            GAMMA,
            ACC,
        )


@triton.jit(do_not_specialize=["M"])
def _gelu_gradient_kernel(
    grad, extra, out, second, partial, M,
    N: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    across = tl.cdiv(N, BN)
    row_block = tl.program_id(0) // across
    columns = tl.program_id(0) % across * BN + tl.arange(0, BN)
    rows = (row_block * BM + tl.arange(0, BM)).to(tl.int64)
    mask = (rows < M)[:, None] & (columns < N)[None, :]
    there = rows[:, None] * N + columns[None, :]
    h = tl.load(extra + there, mask=mask, other=0.0).to(ACC)
    cdf = _normal_cdf(h)
    result = tl.load(grad + there, mask=mask, other=0.0).to(ACC) * _gelu_gradient(h, cdf)
    tl.store(second + there, (h * cdf).to(second.dtype.element_ty), mask=mask)
    tl.store(out + there, result.to(out.dtype.element_ty), mask=mask)
    tl.store(partial + row_block * N + columns, tl.sum(result, 0), mask=columns < N)


def expand(y: Tensor, w: Tensor, b: Tensor, save: bool) -> tuple[Tensor, Tensor]:
    """GELU(y w^T + b) and, with ``save``, the pre-activation (else empty).

    Args:
        y: (M, K), contiguous.
        w: (N, K), of the same dtype.
        b: (N,).
        save: Write the pre-activation too.
    """
    out = y.new_empty((y.shape[0], w.shape[0]))
    h = torch.empty_like(out if save else out[:0])
    _launch("gelu", y, w.t(), (b, b, y, out, h, y), save=save)
    return out, h


def project(g: Tensor, w: Tensor, b: Tensor, gamma: Tensor | None, residual: Tensor) -> Tensor:
    """residual + gamma * (g w^T + b), in the residual's dtype.

    Args:
        g: (M, K), contiguous.
        w: (N, K), of the same dtype.
        b, gamma: (N,); a gamma of None means 1.
        residual: (M, N), contiguous.
    """
    out = torch.empty_like(residual)
    scale = b if gamma is None else gamma
    tensors = (b, scale, residual, out, out, out)
    _launch("residual", g, w.t(), tensors, gamma=gamma is not None)
    return out


def gelu_gradient_of_product(d: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the pre-activation h, GELU(h), and the sum of the former over the rows.

    Args:
        d: Gradient of the projection's output, (M, K), contiguous.
        w: The projection's weight, (K, N), contiguous.
        h: (M, N), contiguous.
    """
    out, g, partial = _gradient_buffers(h)
    _launch("gradient", d, w, (h, h, h, out, g, partial))
    return out, g, sum_partials(partial)


def gelu_gradient(grad: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`gelu_gradient_of_product`, from the gradient of GELU(h) itself, (M, N)."""
    out, g, partial = _gradient_buffers(h)
    m, n = h.shape
    if m == 0:
        return out, g, sum_partials(partial)
    programs = triton.cdiv(m, BM) * triton.cdiv(n, 64)
    _gelu_gradient_kernel[(programs,)](
        grad, h, out, g, partial, m, N=n, BM=BM, BN=64, ACC=accumulator(h.dtype), num_warps=8
    )
    return out, g, sum_partials(partial)


def _gradient_buffers(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(h.dtype, torch.float32)
    rows = triton.cdiv(h.shape[0], BM)
    return torch.empty_like(h), torch.empty_like(h), h.new_empty((rows, h.shape[1]), dtype=dtype)


def _launch(
    epilogue: str, a: Tensor, b: Tensor, others: tuple, save: bool = False, gamma: bool = False
) -> None:
    (m, k), n = a.shape, b.shape[1]
    if m == 0:  # autotuning an empty launch would choose a configuration by noise
        return
    # torch raises an error where its older name, allow_tf32, is read after this one is set.
    tf32 = a.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
    _product_kernel[lambda meta: (triton.cdiv(m, BM) * triton.cdiv(n, meta["BN"]),)](
        a, b, *others, m, size_bucket(m),
        N=n, K=k, STRIDE_K=b.stride(0), STRIDE_N=b.stride(1), EPILOGUE=epilogue, SAVE=save,
        GAMMA=gamma, ACC=accumulator(a.dtype), WIDE=INTERPRETED,
        PRECISION="tf32" if tf32 else "ieee", BM=BM,
    )  # fmt: skip
