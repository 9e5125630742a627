"""Losses and gradients that are not finite: named, counted, and in the end a file to repeat them.

Whether a step is taken or dropped is decided in ``optimizer_gate.py``; ``preflight/replay.py``
repeats the last dropped one.
"""

import math
import statistics
from collections import deque
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor

from convnext_dense.atomic_files import replacing
from convnext_dense.engine.optimizer_gate import OptimizerGate
from convnext_dense.engine.plain_batches import paths_of, to_plain
from convnext_dense.engine.random_state import snapshot
from convnext_dense.engine.sharding import gather_tensors
from convnext_dense.errors import RunEndedError, UserError

WENT_WRONG = 3  # exit code: the numbers, not the input
WINDOW = 200  # steps of the gradient norm's running median
SETTLED = 20  # steps before the median means something
PAUSE = 50  # steps between two warnings
SHOWN = 16  # images that a message names


@HOOKS.register_module()
class FiniteChecksHook(Hook):
    """Drops steps whose loss or gradients are not finite, and ends a run that has no others.

    A dropped step leaves parameters, optimizer, moving average and the models' running statistics
    as they were; iterations and schedules, which count batches, go on. With accumulated batches
    the whole step is dropped. The gradient norm is logged, clipped or not.

    Args:
        limit: Dropped steps in a row that end the run, with a file to repeat the last one.
        alarm: Multiple of the gradient norm's running median beyond which a line warns.

    Raises:
        UserError: For a number out of range.
    """

    priority = "HIGHEST"  # before MeanLossHook takes this process's losses away

    def __init__(self, limit: int = 10, alarm: float = 20.0) -> None:
        if limit < 1 or alarm <= 1:
            raise UserError(
                "FiniteChecksHook needs a limit of at least 1 and an alarm above 1, got "
                f"{limit} and {alarm}."
            )
        self.limit, self.alarm = limit, alarm
        self.guard: OptimizerGate | None = None
        self.in_a_row = 0
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._quiet = 0
        self._batches: list[Any] = []
        self._terms: list[dict[str, Tensor]] = []
        self._random: dict[str, Any] = {}
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []

    def before_train(self, runner) -> None:
        """Takes its place between the wrapper and the optimizer."""
        self.guard = OptimizerGate(runner.optim_wrapper)
        self._buffers = [buffer for buffer in runner.model.buffers() if buffer.numel()]
        self._kept = [buffer.clone() for buffer in self._buffers]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Keeps what it takes to repeat the step; where one begins, what it must not change."""
        if runner.optim_wrapper.should_update():
            self._batches, self._terms, self._random = [], [], snapshot()
            if self._buffers:
                torch._foreach_copy_(self._kept, self._buffers)
        self._batches.append(data_batch)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Logs the norm of the step, or says what became of it.

        Raises:
            RunEndedError: After too many dropped steps in a row.
        """
        self._terms.append({name: value.detach() for name, value in (outputs or {}).items()})
        if not runner.optim_wrapper.should_update():
            return
        if self.guard.taken:
            self.in_a_row = 0
            if math.isfinite(self.guard.norm):
                runner.message_hub.update_scalar("train/grad_norm", self.guard.norm)
                self._watch(runner)
            return
        self.in_a_row += 1
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)
        last = self.in_a_row == self.limit
        runner.logger.warning(f"{self._account(runner)} {self.in_a_row} in a row of {self.limit}.")
        if last:
            self._end(runner)

    def _watch(self, runner) -> None:
        """Warns of a norm far above the usual."""
        norm, self._quiet = self.guard.norm, max(0, self._quiet - 1)
        if len(self._norms) >= SETTLED and not self._quiet:
            usual = statistics.median(self._norms)
            if norm > self.alarm * usual > 0:
                self._quiet = PAUSE
                runner.logger.warning(
                    f"Iteration {runner.iter + 1}: the gradient norm is {norm:.4g}, "
                    f"{norm / usual:.0f} times the median {usual:.4g} of the last "
                    f"{len(self._norms)} steps."
                )
        self._norms.append(norm)

    def _account(self, runner) -> str:
        """What was not finite, and in which images, of all processes."""
        findings = dist.all_gather_object(self._own_account())
        several = len(findings) > 1
        parts = [
            f"{f'rank {rank}: ' if several else ''}{finding}"
            for rank, finding in enumerate(findings)
            if finding
        ]
        what = "loss is" if self.guard.reason == "loss" else "losses are finite, their gradient is"
        return (
            f"Iteration {runner.iter + 1}: the {what} not finite ({'; '.join(parts)}), so the step "
            "is not taken."
        )

    def _own_account(self) -> str:
        """This process's terms and images; "" where it has nothing to do with it."""
        accounts = []
        for terms, batch in zip(self._terms, self._batches, strict=True):
            values = {name: float(value) for name, value in terms.items()}
            bad = {name: value for name, value in values.items() if not math.isfinite(value)}
            if bad or self.guard.reason == "gradient":
                shown = ", ".join(f"{name} {value:g}" for name, value in (bad or values).items())
                paths = paths_of(batch)
                more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
                accounts.append(f"{shown}; images {', '.join(paths[:SHOWN]) or 'unknown'}{more}")
        return "; ".join(accounts)

    def _end(self, runner) -> None:
        """Writes the dump and ends the run, in all processes."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state = gather_tensors(model.state_dict())  # all processes together, where they share it
        findings = dist.all_gather_object(bool(self._own_account()))
        path = Path(runner.work_dir) / f"nonfinite_iter_{runner.iter + 1}_rank_{runner.rank}.pth"
        if findings[runner.rank]:
            self._write(runner, path, state)
        dist.barrier()  # no process ends while another one still writes
        files = [
            path.name.replace(f"rank_{runner.rank}", f"rank_{rank}")
            for rank in range(len(findings))
            if findings[rank]
        ]
        config = Path(runner.work_dir) / Path(runner.cfg.filename or "CONFIG").name
        raise RunEndedError(
            f"{self.limit} steps in a row were not finite; the run ends at iteration "
            f"{runner.iter + 1}, its checkpoints stay. {', '.join(files)} in {runner.work_dir} "
            f"repeats the last one: add --replay {path.with_name(files[0])} to the command, with "
            f"{config} as its config."
            if runner.rank == 0
            else "",
            WENT_WRONG,
        )

    def _write(self, runner, path: Path, state: dict[str, Tensor]) -> None:
        """Writes what :func:`convnext_dense.preflight.replay.replay` reads: plain data alone."""
        scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
        dump = dict(
            state_dict=to_plain(state)["items"],
            batches=[to_plain(batch) for batch in self._batches],
            pictures=[paths_of(batch) for batch in self._batches],
            random_state=self._random,
            terms=[{k: float(v) for k, v in terms.items()} for terms in self._terms],
            loss_scale=scaler.get_scale() if scaler is not None else 1.0,
            iteration=runner.iter + 1,
            config=runner.cfg.pretty_text,
        )
        with replacing(path) as temporary:
            torch.save(dump, temporary)


def last_step_was_taken(runner) -> bool:
    """Whether the last step of the optimizer was taken, rather than dropped."""
    guards = (hook.guard for hook in runner.hooks if isinstance(hook, FiniteChecksHook))
    return all(guard is None or guard.taken for guard in guards)
