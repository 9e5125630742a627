"""The attention maps of PSANet (Zhao et al., 2018): masks around each pixel, placed in the image.

A pixel (h, w) predicts a mask of its surroundings, (h_mask, w_mask) values; the part inside of the
feature map is its attention to pixels (i, j). `COLLECT` puts (i, j) on the channels, `DISTRIBUTE`
(h, w). Every value is copied at most once, so the result is exact in any precision.
"""

import torch
from torch import Tensor

COLLECT, DISTRIBUTE = 0, 1


@torch.no_grad()
def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill `output` (N, H * W, H, W) from masks `input` (N, h_mask * w_mask, H, W).

    Args:
        psa_type: 0 collect, 1 distribute.
        num_: N, known from the input.
        half_h_mask: row of the mask that lies on the pixel itself.
        half_w_mask: its column.
    """
    row, column = (torch.arange(size, device=input.device) for size in (h_feature, w_feature))
    rows = row[:, None] - row + half_h_mask
    columns = column[:, None] - column + half_w_mask
    attention = _pick(input.unflatten(1, (h_mask, w_mask)), rows, columns)
    if psa_type == DISTRIBUTE:
        attention = attention.permute(0, 3, 4, 1, 2)
    output.copy_(attention.flatten(1, 2))


@torch.no_grad()
def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill `grad_input` (N, h_mask * w_mask, H, W) from `grad_output` (N, H * W, H, W)."""
    attention = grad_output.unflatten(1, (h_feature, w_feature))
    if psa_type == DISTRIBUTE:
        attention = attention.permute(0, 3, 4, 1, 2)
    row, column, mask_row, mask_column = (
        torch.arange(size, device=grad_output.device)
        for size in (h_feature, w_feature, h_mask, w_mask)
    )
    rows = mask_row[:, None] + row - half_h_mask
    columns = mask_column[:, None] + column - half_w_mask
    grad_input.copy_(_pick(attention, rows, columns).flatten(1, 2))


def _pick(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`maps[:, rows[a, h], columns[b, w], h, w]`, 0 where an index lies outside of the maps.

    Args:
        maps: (N, A', B', H, W).
        rows: (A, H) int64.
        columns: (B, W) int64.

    Returns:
        (N, A, B, H, W).
    """
    row_count, column_count, height, width = maps.shape[1:]
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    h, w = torch.arange(height, device=maps.device), torch.arange(width, device=maps.device)
    picked = maps[
        :, rows.clamp(0, row_count - 1), columns.clamp(0, column_count - 1), h[:, None], w
    ]
    inside = (rows >= 0) & (rows < row_count) & (columns >= 0) & (columns < column_count)
    return picked.masked_fill_(~inside, 0)
