"""What goes wrong on purpose in tests of the tools: numbers that are not finite, a signal."""

import os

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PoisonHook(Hook):
    """Makes the network's output nan in one process, from an iteration on.

    Args:
        rank: The process.
        first, last: The iterations, counted from 1.
    """

    def __init__(self, rank: int, first: int, last: int) -> None:
        self.rank, self.first, self.last = rank, first, last

    def before_train(self, runner) -> None:
        """Watches the network."""
        if runner.rank != self.rank:
            return

        def spoil(module, inputs, output):
            poisoned = self.first <= runner.iter + 1 <= self.last
            return output * float("nan") if poisoned else output

        model = runner.model.module if runner.world_size > 1 else runner.model
        model.backbone.register_forward_hook(spoil)


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends one process a signal at an iteration counted from 1, or in the evaluation after it."""

    def __init__(self, rank: int, iteration: int, number: int = 15, evaluation=False) -> None:
        self.rank, self.iteration, self.number = rank, iteration, number
        self.evaluation = evaluation

    def before_val_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Sends it."""
        if self.evaluation and runner.rank == self.rank and runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Sends it."""
        here = runner.rank == self.rank and runner.iter + 1 == self.iteration
        if here and not self.evaluation:
            os.kill(os.getpid(), self.number)
