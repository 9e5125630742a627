"""A live progress bar on a terminal; elsewhere the plain log lines are enough."""

import contextlib
import logging
import sys

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def new_progress() -> Progress:
    """The bar of this project: what, bar, count, elapsed, remaining, figures."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
    )


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows iterations, time left, loss, learning rates and memory while a run goes on.

    On a terminal only, and only in the first process; a log file gets the plain lines.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.tasks: dict[str, int] = {}
        self._streams: list[tuple[logging.StreamHandler, object]] = []

    def before_run(self, runner) -> None:
        """Starts the bar."""
        if runner.rank != 0 or not sys.stderr.isatty():
            return
        self.progress = new_progress()
        self.progress.start()
        # The logger holds the terminal it was made with; through rich, lines go above the bar.
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(
                handler, logging.FileHandler
            ):
                self._streams.append((handler, handler.stream))
                handler.stream = sys.stderr

    def after_run(self, runner) -> None:
        """Stops the bar and gives the terminal back."""
        if self.progress is None:
            return
        self.progress.stop()
        for handler, stream in self._streams:
            handler.stream = stream
        self._streams.clear()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Moves the training bar."""
        if self.progress is not None:
            self._advance("train", runner.iter + 1, runner.max_iters, self._figures(runner))

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Moves the validation bar."""
        if self.progress is not None:
            self._advance("val", batch_idx + 1, len(runner.val_dataloader), "")

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Moves the test bar."""
        if self.progress is not None:
            self._advance("test", batch_idx + 1, len(runner.test_dataloader), "")

    def _advance(self, stage: str, done: int, total: int, figures: str) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=total, figures=figures)
        self.progress.update(self.tasks[stage], completed=done, figures=figures)

    @staticmethod
    def _figures(runner) -> str:
        scalars = runner.message_hub.log_scalars
        parts = []
        for name, pattern in (
            ("loss", "loss {:.4f}"),
            ("min_lr", "lr {:.2e}"),
            ("max_lr", "to {:.2e}"),
            ("memory", "{:.0f} MB"),
        ):
            with contextlib.suppress(KeyError):  # not every run logs every figure
                parts.append(pattern.format(scalars[f"train/{name}"].current()))
        return " ".join(parts)
