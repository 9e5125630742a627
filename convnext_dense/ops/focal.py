"""Focal losses (Lin et al., 2017) of logits and of softmax probabilities, with their gradients.

mmcv's sigmoid kernel takes the logarithm of `1 - p` rounded to float32: a confident negative loses
digits there, and from a logit of 17 on costs 87 whatever the logit. Here the logarithm is exact.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32


@torch.no_grad()
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` with the loss of every logit.

    Args:
        input: (N, C) logits.
        target: (N,) int64 class numbers; for one outside 0 .. C-1 (background) all C are negatives.
        weight: (C,) weights of a row by its target, or empty. Background rows have weight 1.
        output: (N, C).
    """
    logits, weight = at_least_float32(input, weight)
    positive = alpha * torch.sigmoid(-logits) ** gamma * F.logsigmoid(logits)
    negative = (1 - alpha) * torch.sigmoid(logits) ** gamma * F.logsigmoid(-logits)
    loss = -torch.where(_is_target(logits, target), positive, negative)
    output.copy_(loss * _row_weight(weight, target)[:, None])


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` (N, C) with the derivative of every loss by its logit."""
    logits, weight = at_least_float32(input, weight)
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    positive = alpha * q**gamma * (gamma * torch.xlogy(p, p) - q)
    negative = (1 - alpha) * p**gamma * (p - gamma * torch.xlogy(q, q))
    gradient = torch.where(_is_target(logits, target), positive, negative)
    grad_input.copy_(gradient * _row_weight(weight, target)[:, None])


@torch.no_grad()
def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` with the loss of every row.

    Args:
        softmax: (N, C) probabilities.
        target: (N,) int64 class numbers; rows with a number outside 0 .. C-1 have no loss.
        weight: (C,) weights of a row by its target, or empty.
        output: (N,).
    """
    softmax, weight = at_least_float32(softmax, weight)
    p = _target_probability(softmax, target)
    p = p.clamp(min=torch.finfo(p.dtype).tiny)  # a probability that underflowed: a finite loss
    loss = -alpha * (1 - p) ** gamma * p.log() * _row_weight(weight, target)
    output.copy_(loss.where(_in_range(target, softmax.shape[1]), 0.0))


@torch.no_grad()
def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill `grad_input` (N, C), derivatives by the logits, and `buff` (N,), their common factor."""
    softmax, weight = at_least_float32(softmax, weight)
    p = _target_probability(softmax, target)
    # Where 1 - p is 0, its power gamma - 1 may be infinite while the logarithm is 0.
    q = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    factor = alpha * (gamma * q ** (gamma - 1) * torch.xlogy(p, p) - q**gamma)
    factor = factor * _row_weight(weight, target)
    factor = factor.where(_in_range(target, softmax.shape[1]), 0.0)
    buff.copy_(factor)
    grad_input.copy_(factor[:, None] * (_is_target(softmax, target).to(p.dtype) - softmax))


def _is_target(scores: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(scores.shape[1], device=target.device)


def _in_range(target: Tensor, classes: int) -> Tensor:
    return (target >= 0) & (target < classes)


def _target_probability(softmax: Tensor, target: Tensor) -> Tensor:
    index = target.clamp(0, softmax.shape[1] - 1)[:, None]
    return softmax.gather(1, index)[:, 0]


def _row_weight(weight: Tensor, target: Tensor) -> Tensor:
    """The weight of every row's class (for background rows mmcv reads past the weights' end)."""
    if not len(weight):
        return weight.new_ones(len(target))
    row_weight = weight[target.clamp(0, len(weight) - 1)]
    return row_weight.where(_in_range(target, len(weight)), 1.0)
