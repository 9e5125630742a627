"""Triton: the second stage of every reduction, in a fixed order."""

import triton
import triton.language as tl
from torch import Tensor

from convnext_dense.kernels.tiles import SUM_COLUMNS, SUM_ROWS, accumulator


@triton.jit(do_not_specialize=["ROWS", "COLUMNS"])
def _sum_kernel(partial, out, ROWS, COLUMNS, ACC: tl.constexpr, R: tl.constexpr, B: tl.constexpr):
    columns = tl.program_id(0) * B + tl.arange(0, B)
    rows = tl.arange(0, R)
    sums = tl.zeros([R, B], ACC)
    start = 0
    while start < ROWS:
        mask = (start + rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
        there = (start + rows).to(tl.int64)[:, None] * COLUMNS + columns[None, :]
        sums += tl.load(partial + there, mask=mask, other=0.0)
        start += R
    tl.store(out + columns, tl.sum(sums, 0), mask=columns < COLUMNS)


def sum_partials(partial: Tensor) -> Tensor:
    """Sum of (rows, columns) over the rows, (columns,), in the same order in every run.

    Without rows, as when stochastic depth keeps no sample of a batch, the sums are zeros.
    """
    rows, columns = partial.shape
    if rows == 0:
        return partial.new_zeros(columns)
    out = partial.new_empty(columns)
    _sum_kernel[(triton.cdiv(columns, SUM_COLUMNS),)](
        partial, out, rows, columns,
        ACC=accumulator(partial.dtype), R=SUM_ROWS, B=SUM_COLUMNS, num_warps=4,
    )  # fmt: skip
    return out
