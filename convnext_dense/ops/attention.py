"""Multi-scale deformable attention (Zhu et al., 2021, section 4.1); mmcv calls it on CUDA only."""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32


@torch.no_grad()
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sum of the values sampled around each query, weighted by attention.

    Args:
        value: (N, S, heads, D), the S pixels of all levels one after the other.
        value_spatial_shapes: (levels, 2) int64, (height, width).
        value_level_start_index: (levels,), unused, since the shapes imply it.
        sampling_locations: (N, queries, heads, levels, points, 2), xy in [0, 1] of each level.
        attention_weights: (N, queries, heads, levels, points).

    Returns:
        (N, queries, heads * D).
    """
    tensors = at_least_float32(value, sampling_locations, attention_weights)
    return _attend(*tensors, value_spatial_shapes.tolist()).to(value.dtype)


@torch.no_grad()
def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fill the three gradients."""
    tensors = at_least_float32(value, sampling_locations, attention_weights)
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    with torch.enable_grad():
        output = _attend(*tensors, value_spatial_shapes.tolist())
    gradients = torch.autograd.grad(output, tensors, grad_output.to(output.dtype))
    for target, gradient in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True
    ):
        target.copy_(gradient)


def _attend(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[list[int]]) -> Tensor:
    batch, _, heads, _ = value.shape
    queries = locations.shape[1]
    levels = value.split([height * width for height, width in shapes], dim=1)
    total = 0
    for level, (height, width) in enumerate(shapes):
        # (N, S, heads, D) -> (N * heads, D, height, width): each head samples its own feature map.
        features = levels[level].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
        grid = locations[:, :, :, level].transpose(1, 2).flatten(0, 1) * 2 - 1
        sampled = F.grid_sample(features, grid, padding_mode="zeros", align_corners=False)
        weight = weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, -1)
        total = total + (sampled * weight).sum(dim=-1)
    return total.view(batch, -1, queries).transpose(1, 2).contiguous()
