"""A live progress bar on a terminal; elsewhere the plain lines are enough."""

import contextlib
from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from convnext_dense.runs.console import ConsoleHandler, console_of

# Columns of a terminal from which on there is room for a wide bar, a short one, the figures.
WIDE, SHORT, FIGURES = 100, 74, 64


def new_progress(console: Console | None = None) -> Progress:
    """The bar of this project: what, bar, count, elapsed, remaining, figures.

    Args:
        console: Where it is drawn; by default stderr.
    """
    console = console or Console(stderr=True)
    return Progress(*_columns(console.width), console=console)


def _columns(width: int) -> list[ProgressColumn]:
    """What fits into a line: a bar that is cut off says nothing."""
    bar = [BarColumn(bar_width=24 if width >= WIDE else 10)] if width >= SHORT else []
    figures = TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True))
    return [
        TextColumn("{task.description}"),
        *bar,
        MofNCompleteColumn(),
        *([TimeElapsedColumn()] if width >= WIDE else []),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        *([figures] if width >= FIGURES else []),
    ]


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows iterations, time left, loss, largest learning rate and memory while a run goes on.

    On a terminal only, and only in the first process: the console's plain lines of an iteration
    are left out there. With ``--debug`` there are plain lines and no bar.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.tasks: dict[str, int] = {}
        self.handler: ConsoleHandler | None = None

    def before_run(self, runner) -> None:
        """Starts the bar."""
        self.handler = console_of(runner.logger)
        if runner.rank != 0 or self.handler is None or not self.handler.console.is_live:
            return
        self.progress = new_progress(self.handler.console)
        self.progress.start()
        self.handler.has_bar = True

    def after_run(self, runner) -> None:
        """Stops the bar and gives the terminal back."""
        self.stop()

    def stop(self) -> None:
        """Stops the bar, where there is one."""
        if self.progress is not None:
            self.progress.stop()
            self.handler.has_bar = False
            self.progress = None

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
            ("max_lr", "lr {:.2e}"),
            ("memory", "{:.0f} MB"),
        ):
            with contextlib.suppress(KeyError):  # not every run logs every figure
                parts.append(pattern.format(scalars[f"train/{name}"].current()))
        return " ".join(parts)


@contextlib.contextmanager
def bar_ends_with(runner) -> Iterator[None]:
    """Stops a runner's bar however the run ends, before the end is explained on the terminal."""
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.stop()
