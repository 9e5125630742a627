"""Masked convolution: patches of chosen pixels as columns, and columns put back at their pixels.

mmcv's `MaskedConv2d` multiplies the columns by its weight in between; it has no backward pass.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.errors import UserError


@torch.no_grad()
def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fill `col` with the patch of every chosen output pixel, at stride 1.

    Args:
        im: (1, C, H, W) features; pixels outside of them are 0.
        mask_h_idx: (M,) rows of the chosen pixels, int64.
        mask_w_idx: (M,) their columns.
        col: (C * kernel_h * kernel_w, M).
    """
    # A pixel may be chosen on the input's grid, which a convolution with little padding does not
    # fill: its patch reaches beyond the padding of the lower right, up to the size of the kernel.
    padded = F.pad(im[0], (pad_w, kernel_w, pad_h, kernel_h))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows[:, None], columns[None]].reshape(col.shape))


@torch.no_grad()
def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write the columns `col` (channels, M) to the chosen pixels of `im` (1, channels, H, W).

    Raises:
        UserError: A chosen pixel lies outside of `im` (mmcv writes to other memory then).
    """
    if ((mask_h_idx >= height) | (mask_w_idx >= width)).any():
        raise UserError(
            f"the mask of a masked convolution chooses pixels outside of its {height} x {width} "
            "output: give the convolution a padding of half its kernel, or mask these pixels out"
        )
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)
