"""A step of several batches, interrupted between two of them."""

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, all_reduce
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from torch import Tensor
from torch.distributed.tensor import DTensor

from convnext_dense.engine.gathering import GatheringHook
from convnext_dense.engine.sharding import gather_tensors, own_shard, plain_model
from convnext_dense.optim.stepping import schedule_end

SAVED = "gradients"


def accumulate(cfg: Config, batches: int) -> None:
    """Makes a step of the optimizer of several batches.

    A sampler that can end an epoch with a complete step (``step_size``) is told to; with others, a
    step may begin in one epoch and end in the next.
    """
    cfg.optim_wrapper.accumulative_counts = batches
    sampler = cfg.train_dataloader.sampler
    if "step_size" in sampler:
        sampler.step_size = batches * cfg.train_dataloader.batch_size


def whole_iterations(cfg: Config, per_epoch: int) -> int:
    """Iterations of a run's whole schedule, whatever ``--max-iters`` says."""
    epochs = (cfg.get("train_cfg") or {}).get("max_epochs")
    return (schedule_end(cfg) or 0) if epochs is None else epochs * per_epoch


@HOOKS.register_module()
class PartialStepHook(GatheringHook):
    """Saves the gradients of batches whose step is not complete, with the checkpoint.

    Where gradients of several batches make one step (``--accumulate``), an epoch or an interval of
    checkpoints may end between two of them. Of several processes the mean of their gradients is
    saved, which each of them goes on with: the step's gradient is the mean over them anyway.
    """

    def __init__(self) -> None:
        self._resumed: dict[str, Tensor] = {}
        self._gathered: dict[str, Tensor] = {}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Takes the gradients of a checkpoint that is resumed."""
        if runner._resume:
            self._resumed = checkpoint.get(SAVED, {})

    def before_train(self, runner) -> None:
        """Gives them to the parameters; a step that a stop interrupts is not taken there."""
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper):
            # mmengine takes what there is of a step at the last iteration: that of the schedule,
            # and not that of --max-iters, after which the run may be resumed.
            counts = whole_iterations(runner.cfg, len(runner.train_dataloader))
            wrapper._max_counts = max(counts, runner.train_loop.max_iters)
            wrapper._remainder_counts = wrapper._max_counts % wrapper._accumulative_counts
        for name, parameter in plain_model(runner).named_parameters():
            if name in self._resumed:
                gradient = self._resumed[name].to(parameter.device)
                parameter.grad = own_shard(gradient, parameter)
        self._resumed = {}

    def gather(self, runner) -> None:
        """Collects what gradients there are (none after a whole step); all processes call it."""
        parameters = dict(plain_model(runner).named_parameters())
        mine = [name for name, parameter in parameters.items() if parameter.grad is not None]
        anywhere = set().union(*all_gather_object(mine))
        self._gathered = {n: _mean(p) for n, p in parameters.items() if n in anywhere}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Saves them, where there are any."""
        if self._gathered:
            checkpoint[SAVED] = self._gathered
        self._gathered = {}


def _mean(parameter: torch.nn.Parameter) -> Tensor:
    """The mean of a parameter's gradients over all processes."""
    if isinstance(parameter, DTensor):  # fully_shard has taken the mean
        return gather_tensors(parameter.grad)
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
    all_reduce(gradient, "mean")
    return gradient.detach()
