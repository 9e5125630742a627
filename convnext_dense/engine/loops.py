"""The training loops: epochs or iterations, to stop and resume at any iteration."""

from collections.abc import Sequence

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from convnext_dense.engine.augmentation_seeds import seeded
from convnext_dense.engine.random_state import without_drawing
from convnext_dense.errors import UserError
from convnext_dense.runs.signals import evaluation_is_due


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """Epoch-based training that resumes inside an epoch and can be cut short.

    mmengine's epoch loop restarts a half-finished epoch from its first image while it goes on
    counting iterations. This one skips the batches that were trained on (without reading their
    images), so the order of the data and the schedule stay those of an uninterrupted run. Each
    image's augmentation has a seed of its own
    (see :mod:`convnext_dense.engine.augmentation_seeds`).

    Args:
        runner: The runner.
        dataloader: Training data, or its config.
        max_epochs: Epochs of the recipe; schedules count on them.
        max_iters: Stop after this many iterations in all, and evaluate there.
        val_begin, val_interval, dynamic_intervals: As in mmengine, in epochs.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        max_iters: int | None = None,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        if not len(self.dataloader):
            raise UserError(
                f"The {len(self.dataloader.dataset)} training images make no batch of "
                f"{self.dataloader.batch_size}: lower train_dataloader.batch_size."
            )
        self.dataloader = seeded(self.dataloader, runner.seed)
        if max_iters is not None:
            self._max_iters = min(self._max_iters, max_iters)

    def run(self):
        """Trains to the end of the last epoch or to ``max_iters``, evaluating on the way.

        Raises:
            UserError: When a resumed run's epochs have another length.
        """
        self._check_position()
        self.runner.call_hook("before_train")
        if self._finished:
            self.runner.logger.info(f"Nothing left to train at iteration {self._iter}.")
            if self.runner.val_loop is not None:
                self.runner.val_loop.run()
        elif evaluation_is_due(self.runner):
            self.runner.val_loop.run()
        elif self._iter:
            self.evaluate_again()
        while not self._finished and not self.stop_training:
            self.run_epoch()
            self.after_epoch()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _check_position(self) -> None:
        length = len(self.dataloader)
        if not 0 <= self._iter - self._epoch * length <= length:
            raise UserError(
                f"The checkpoint was written at iteration {self._iter}, in epoch "
                f"{self._epoch + 1}; with {length} batches an epoch, as here, that is no place to "
                "go on: resume with the data, the batch size and the number of processes of the "
                "run, or start a new one from its weights with --load-from."
            )

    def after_epoch(self) -> None:
        """Evaluates where an epoch ends that is due for it, or the run."""
        self._decide_current_val_interval()
        if self.runner.val_loop is not None and (self._evaluation_due() or self._finished):
            self.runner.val_loop.run()

    def evaluate_again(self) -> None:
        """Evaluates after a resume where an evaluation is due that something depends on.

        The checkpoint was written before its own evaluation, which neither the best score nor a
        schedule that follows a score must miss.
        """
        self._decide_current_val_interval()
        checkpoint = self.runner.cfg.get("default_hooks", {}).get("checkpoint") or {}
        schedules = self.runner.param_schedulers or []
        if isinstance(schedules, dict):  # of several optimizers
            schedules = [schedule for some in schedules.values() for schedule in some]
        reads_scores = any(getattr(schedule, "need_val_args", False) for schedule in schedules)
        needed = self.runner.val_loop is not None and (checkpoint.get("save_best") or reads_scores)
        if needed and self._evaluation_due():
            self.runner.val_loop.run()

    def _evaluation_due(self) -> bool:
        at_end = self._iter == self._epoch * len(self.dataloader)
        return at_end and self._epoch % self.val_interval == 0 and self._epoch >= self.val_begin

    def evaluates_after(self, iteration: int) -> bool:
        """Whether an evaluation follows so many iterations inside of an epoch."""
        return False

    @property
    def _finished(self) -> bool:
        return self._iter >= self._max_iters

    def run_epoch(self) -> None:
        """Trains on what is left of the current epoch, up to ``max_iters``."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        self.dataloader.batch_sampler.start(self._epoch, skip=done)
        # A loader draws a number where it makes workers: a resumed run would draw more often than
        # one whose workers persist.
        batches = without_drawing(lambda: iter(self.dataloader))
        for idx, data_batch in enumerate(batches, start=done):
            self.run_iter(idx, data_batch)
            if self._finished or self.stop_training:
                break
        if self._iter == (self._epoch + 1) * len(self.dataloader):
            self.runner.call_hook("after_train_epoch")
            self._epoch += 1


@LOOPS.register_module()
class ResumableIterLoop(ResumableEpochLoop):
    """Training by iterations: passes over the data, each in a new order, until they are done.

    mmengine's IterBasedTrainLoop reads every image that was trained on once more when it
    resumes. Here the batches of the passes go on where they stopped, as in epochs.

    Args:
        runner: The runner.
        dataloader: Training data, or its config.
        max_iters: Iterations in all; the run is evaluated at its end.
        val_begin, val_interval: As in mmengine, in iterations.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
    ) -> None:
        # A pass has at least one iteration: so many passes are enough.
        super().__init__(runner, dataloader, max_iters, max_iters, val_begin, val_interval)
        self._max_epochs = -(-max_iters // len(self.dataloader))

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Trains on one batch, then evaluates where that is due."""
        super().run_iter(idx, data_batch)
        if self.evaluates_after(self._iter):
            self.runner.val_loop.run()
            self.runner.model.train()

    def evaluates_after(self, iteration: int) -> bool:
        """Whether an evaluation follows so many iterations."""
        due = self._is_due(iteration) or iteration >= self._max_iters
        return self.runner.val_loop is not None and due

    def _evaluation_due(self) -> bool:
        return self._is_due(self._iter)

    def _is_due(self, iteration: int) -> bool:
        return iteration % self.val_interval == 0 and iteration >= self.val_begin

    def after_epoch(self) -> None:
        """Evaluates nothing: evaluations count iterations."""
