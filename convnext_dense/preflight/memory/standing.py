"""What a run has in use over the whole step: weights, gradients, the optimizer's state."""

import math
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.models.block import Block
from convnext_dense.preflight.start_check import AVERAGES, optimizer_bytes


@dataclass(frozen=True)
class Standing:
    """Bytes that are in use over the whole step.

    Attributes:
        weights: Weights and buffers, those of an average of the weights too.
        optimizer: The optimizer's state.
        gradients: Of the trained parameters. A step of several batches has them from its second
            batch on, a step of one batch has none when it begins.
        copies: What processes hold beside: gradients on their way, gathered weights.
    """

    weights: int
    optimizer: int
    gradients: int
    copies: int = 0


def standing_bytes(cfg: Config, model: nn.Module, processes: int) -> Standing:
    """What a run has in use over the whole step, of one of its processes."""
    weights = sum(_bytes(tensor) for tensor in (*model.parameters(), *model.buffers()))
    gradients = sum(_bytes(p) for p in model.parameters() if p.requires_grad)
    optimizer = optimizer_bytes(cfg, model)
    averages = sum(hook.get("type") in AVERAGES for hook in cfg.get("custom_hooks") or [])
    weights *= 1 + averages
    if cfg.get("fsdp"):
        shares = (math.ceil(part / processes) for part in (weights, optimizer, gradients))
        return Standing(*shares, copies=_gathered_bytes(model))
    # DistributedDataParallel reduces gradients in buckets beside them.
    return Standing(weights, optimizer, gradients, copies=gradients if processes > 1 else 0)


def _gathered_bytes(model: nn.Module) -> int:
    """Weights and gradients that FSDP has together at a time: two blocks, and all outside."""
    blocks = [sum(map(_bytes, m.parameters())) for m in model.modules() if isinstance(m, Block)]
    outside = sum(map(_bytes, model.parameters())) - sum(blocks)
    return 2 * (outside + 2 * max(blocks, default=0))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
