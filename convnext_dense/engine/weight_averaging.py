"""The moving average of the weights: kept beside the plain ones, evaluated and saved with them."""

import copy
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from convnext_dense.engine.accumulation import whole_iterations
from convnext_dense.engine.finite_checks import last_step_was_taken
from convnext_dense.engine.gathering import GatheringHook
from convnext_dense.engine.sharding import copy_model, gather_tensors, load_gathered, plain_model
from convnext_dense.errors import UserError
from convnext_dense.tasks import OF_AVERAGE
from convnext_dense.weights.checkpoints import AVERAGE

AVERAGE_DECAY = "average_decay"  # in a checkpoint's meta
LONGEST = 0.9999  # the decay of table 5 of the paper, whose runs have 94,000 steps and more
SHARE = 10  # a decay that is not given looks back over at most one in so many steps of the run


@HOOKS.register_module()
class WeightAverageHook(GatheringHook):
    """Keeps an exponential moving average of the weights, updated at every optimizer step.

    mmengine's EMAHook puts the average into the place of the weights for evaluation and in
    checkpoints, so that only one of the two is evaluated, and updates with every batch, also
    those that are accumulated.

    All that is a floating-point number is averaged, also the running statistics of batch norm, as
    timm's ``ModelEmaV3`` does; counters are copied. A tensor with several names moves once.

    Args:
        decay: Share of the average that a step keeps (.9999 in table 5 of the paper). None: by the
            length of the run (:func:`decay_of`); a resumed run keeps the one that it began with.

    Attributes:
        model: The averaged model; None while there is none (a checkpoint without one is tested).
    """

    priority = "NORMAL"  # before the hook that saves checkpoints

    def __init__(self, decay: float | None = LONGEST) -> None:
        self.decay = None if decay is None else check_decay(decay)
        self.model: nn.Module | None = None
        self._saved: dict[str, torch.Tensor] | None = None
        self._begun_with: float | None = None  # the decay of a run that is resumed
        self._gathered: dict[str, torch.Tensor] = {}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Takes the average of a checkpoint that is resumed or tested, not of starting weights."""
        if runner._resume or runner._train_loop is None:
            self._saved = checkpoint.get(AVERAGE)
            self._begun_with = (checkpoint.get("meta") or {}).get(AVERAGE_DECAY)

    def before_train(self, runner) -> None:
        """Starts from the weights as they are, or goes on with the resumed average."""
        self._build(runner)
        if self.decay is None:
            self.decay = self._begun_with or decay_of(steps_of(runner))
            runner.logger.info(
                f"The weights are averaged over some {1 / (1 - self.decay):,.0f} steps (decay "
                f"{self.decay:g})."
            )

    def before_test(self, runner) -> None:
        """Builds the averaged model, where the checkpoint has one."""
        if self._saved is not None:
            self._build(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Moves the average, where this batch completed a step that was taken."""
        if not (runner.optim_wrapper.should_update() and last_step_was_taken(runner)):
            return
        current = plain_model(runner).state_dict()
        # keep_vars: a tensor that layers share is one object under all of its names.
        averaged = self.model.state_dict(keep_vars=True)
        pairs = {id(mine): (mine, current[name]) for name, mine in averaged.items()}.values()
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        with torch.no_grad():
            move_averages(*zip(*floating, strict=True), self.decay)
            for mine, theirs in pairs:
                if not mine.is_floating_point():  # counters
                    mine.copy_(theirs)

    def gather(self, runner) -> None:
        """Puts the average together, where the processes share it."""
        self._gathered = gather_tensors(self.model.state_dict())

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Saves the average beside the plain weights."""
        checkpoint[AVERAGE] = self._gathered
        checkpoint["meta"][AVERAGE_DECAY] = self.decay

    def _build(self, runner) -> None:
        self.model = copy_model(plain_model(runner), runner.cfg).eval().requires_grad_(False)
        if self._saved is not None:
            load_gathered(self.model, self._saved)
            self._saved = None


def move_averages(
    averages: Sequence[torch.Tensor], current: Sequence[torch.Tensor], decay: float
) -> None:
    """Moves averages towards the current tensors, in place and all at once."""
    get_ema_multi_avg_fn(decay)(averages, current, None)


def check_decay(decay: Any) -> float:
    """A decay as a number.

    Raises:
        UserError: Outside (0, 1).
    """
    if isinstance(decay, bool) or not isinstance(decay, Real) or not 0 < decay < 1:
        raise UserError(
            f"The decay of averaged weights must be between 0 and 1, such as {LONGEST}, got "
            f"{decay!r}."
        )
    return float(decay)


def decay_of(steps: int) -> float:
    """The decay for a run of so many steps, which looks back over a tenth of them at most.

    The paper's would hardly leave the start of a short run.
    """
    return min(LONGEST, 1 - 1 / max(2, steps / SHARE))


def steps_of(runner) -> int:
    """The optimizer's steps of a run's whole schedule, whatever ``--max-iters`` says."""
    iterations = whole_iterations(runner.cfg, len(runner.train_dataloader))
    return iterations // runner.optim_wrapper._accumulative_counts


def averaged_model(runner) -> nn.Module | None:
    """The averaged model of a run; None where it keeps none."""
    hooks = (hook for hook in runner.hooks if isinstance(hook, WeightAverageHook))
    return next((hook.model for hook in hooks), None)


class PairedEvaluator:
    """Two evaluators of the same kind: for the plain weights and for their average.

    Args:
        plain: mmengine's evaluator; it is copied for the average.
    """

    def __init__(self, plain: Evaluator) -> None:
        self.plain = plain
        self.average = copy.deepcopy(plain)
        self._averaged = False

    def process(self, data_samples, data_batch=None) -> None:
        """Takes the plain weights' predictions of a batch."""
        self.plain.process(data_samples=data_samples, data_batch=data_batch)

    def process_average(self, data_samples, data_batch=None) -> None:
        """Takes the average's predictions of a batch."""
        self._averaged = True
        self.average.process(data_samples=data_samples, data_batch=data_batch)

    def evaluate(self, size: int) -> dict[str, float]:
        """The figures of both; those of the average end in ``_ema``."""
        figures = {}
        if self._averaged:
            print_log("The averaged weights:", logger="current")
            average = self.average.evaluate(size)
            figures = {f"{name}{OF_AVERAGE}": value for name, value in average.items()}
            print_log("The plain weights:", logger="current")
        # The last one's figures of each class stay in the message hub.
        return {**self.plain.evaluate(size), **figures}


class _BothWeights:
    """What the loops below share: one pass over the data for both."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.evaluator = PairedEvaluator(self.evaluator)

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Evaluates one batch with the plain weights, then with the average, where there is one."""
        super().run_iter(idx, data_batch)
        model = averaged_model(self.runner)
        if model is None:
            return
        with torch.no_grad(), autocast(enabled=self.fp16):
            outputs = model.val_step(data_batch)
        self.evaluator.process_average(data_samples=outputs, data_batch=data_batch)


@LOOPS.register_module()
class BothWeightsValLoop(_BothWeights, ValLoop):
    """Validation of the plain weights and of their average."""


@LOOPS.register_module()
class BothWeightsTestLoop(_BothWeights, TestLoop):
    """Test of the plain weights and of their average."""
