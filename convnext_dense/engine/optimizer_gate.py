"""The gate before the optimizer: a step whose numbers are not finite does not pass.

What is checked stays on the device; the host asks once a step, before the optimizer, whether to
take it. Where gradients are clipped mmengine waits there for their norm anyway.
"""

import math

import torch
from mmengine import dist
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.nn.utils import get_total_norm

from convnext_dense.engine.sharding import gather_tensors


class OptimizerGate:
    """Stands between an optimizer's wrapper and its step: takes it, or drops its gradients.

    It does the wrapper's clipping, whose norm is the one that is checked and logged.

    Args:
        wrapper: mmengine's wrapper; its ``update_params`` and ``step`` are replaced.

    Attributes:
        taken: Whether the last step was taken.
        reason: Why it was not: "loss" or "gradient".
        norm: Norm of its gradients before clipping.
    """

    def __init__(self, wrapper: OptimWrapper) -> None:
        self.wrapper, self.taken, self.reason, self.norm = wrapper, True, "", 0.0
        self.clip, wrapper.clip_grad_kwargs = wrapper.clip_grad_kwargs, None
        self._update, self._step = wrapper.update_params, wrapper.step
        self._bad: Tensor | None = None
        wrapper.update_params, wrapper.step = self.update_params, self.step

    def update_params(self, loss: Tensor, *args, **kwargs) -> None:
        """Remembers whether the loss is finite, on its device, and goes on."""
        bad = ~loss.detach().isfinite()
        self._bad = bad if self._bad is None else self._bad | bad
        self._update(loss, *args, **kwargs)

    def step(self, **kwargs) -> None:
        """Takes the step where loss and gradients are finite, in all processes or in none.

        fp16's scaler skips gradients that overflow by itself, and lowers its scale: that is no
        failure, a loss that is not finite is.
        """
        bad, self._bad = self._bad.float(), None
        scaler = getattr(self.wrapper, "loss_scaler", None)
        scaled = scaler is not None and scaler.is_enabled()
        if scaled:
            if self._agree(bad, torch.zeros_like(bad)):
                scaler.unscale_(self.wrapper.optimizer)
                self.norm = float(self._clipped_norm())
                self._step(**kwargs)
        elif self._agree(bad, self._clipped_norm().to(bad)):
            self._step(**kwargs)

    def _agree(self, bad: Tensor, norm: Tensor) -> bool:
        """Asks all processes; the norm of gradients that were averaged is the same in all."""
        verdict = torch.stack([bad, norm])
        if dist.get_world_size() > 1:
            dist.all_reduce(verdict, "mean")
        lost, self.norm = verdict.tolist()
        self.taken = not lost and math.isfinite(self.norm)
        self.reason = "" if self.taken else "loss" if lost else "gradient"
        return self.taken

    def _clipped_norm(self) -> Tensor:
        groups = self.wrapper.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        by_norm = self.clip and self.wrapper.grad_name == "grad_norm"
        if by_norm:
            norm = self.wrapper.clip_func(parameters, **self.clip)
        else:
            norm = get_total_norm([p.grad for p in parameters])
            if self.clip:
                self.wrapper.clip_func(parameters, **self.clip)
        return gather_tensors(norm.detach())
