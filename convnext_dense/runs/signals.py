"""SIGTERM and Ctrl-C: the step is finished, a checkpoint written, and the exit code says so.

Slurm sends SIGTERM before it kills, torchrun hands both signals on, to all processes of a group,
those that load data included. A tool that keeps no checkpoints ends at once instead.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.atomic_files import write_atomically

SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
RESUMABLE = 128 + signal.SIGTERM  # exit code: start me again
EVALUATE = "evaluation_due"  # in a checkpoint that was written instead of an evaluation
WRITTEN = "interruption_checkpoint"  # in the message hub: the last one's name
# One Ctrl-C reaches a process twice, from the terminal and from its launcher.
ONE_REQUEST = 1.0  # seconds


class Interrupted(KeyboardInterrupt):
    """A signal ends the tool; nothing but a tool's door may catch it.

    Args:
        sentence: What is printed; nothing where it is empty.
        code: Exit code.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class Request:
    """What the signals of this process have asked for.

    Attributes:
        patient: Whether the run ends at its next safe place, instead of at once.
        place: Where a training is that would lose nothing at once; "" outside of one.
        name: Name of the signal that waits to be heeded; "" while there is none.
        agreed: Whether all processes know of a request to one of them.
    """

    def __init__(self) -> None:
        self._ending = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.patient = self.agreed = False
        self.place = self.name = ""
        self._since, self._pid = 0.0, os.getpid()

    def receive(self, number: int, frame=None) -> None:
        """Heeds a signal; the handler of both.

        Raises:
            Interrupted: Where there is nothing to wait for.
        """
        if os.getpid() != self._pid:
            return  # a process that loads data inherits this: its parent ends it
        if self.name:
            self.repeat()
            return
        self.name, self._since = SIGNALS[number], self._since or time.monotonic()
        if self.patient:
            if dist.is_main_process():
                _say(f"{self.name}: ends after this step, with a checkpoint (once more: at once).")
            return
        self.patient = True  # the way out is not interrupted, but by a second signal
        code = RESUMABLE if self.place else 128 + number
        raise Interrupted(f"Interrupted ({self.name}){self.place}.", code)

    def repeat(self) -> None:
        """Ends the process at once where the request is not the first one."""
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since < ONE_REQUEST or not self._ending.acquire(blocking=False):
            return
        _say("Interrupted twice: ends at once, without another checkpoint.")
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(RESUMABLE)


def _say(sentence: str) -> None:
    """Prints from a signal's handler, which may have interrupted another print."""
    os.write(2, f"{sentence}\n".encode())


request = Request()  # signals are the process's, not a run's


@contextmanager
def handling_signals() -> Iterator[None]:
    """Has SIGTERM and Ctrl-C raise :class:`Interrupted`, or wait where a run says so.

    A signal that is ignored (``nohup``, a background job's Ctrl-C) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    request.clear()
    previous = {
        number: signal.signal(number, request.receive)
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """For the last moments of a process: a launcher tells what is left of a run to end, again."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Ends a run where it can go on bit for bit: after a step, between epochs, in an evaluation.

    The checkpoint is ``iter_N.pth``, beside those of the recipe, until the next interruption. An
    evaluation that was broken off is made when the run resumes.
    """

    priority = "LOWEST"  # all others have done what belongs to the iteration

    def __init__(self) -> None:
        self.evaluation_due = False
        self._saved_due = False
        self._shared_batches = 0

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Learns whether the checkpoint was written instead of an evaluation."""
        self.evaluation_due = bool(runner._resume and checkpoint.get(EVALUATE))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Says so in the checkpoint."""
        checkpoint[EVALUATE] = self._saved_due

    def before_train(self, runner) -> None:
        """From here on a signal waits for the next safe place."""
        request.patient = True

    def after_train(self, runner) -> None:
        """From here on nothing is left to save."""
        request.patient, request.name = False, ""
        request.place = " after the last iteration: everything is saved"

    def before_train_epoch(self, runner) -> None:
        """A safe place: the counters stand at the new epoch, and nothing is drawn for it yet."""
        if self._agreed():
            self._end(runner, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """A safe place, unless gradients are still being gathered or an epoch is to be closed."""
        last_of_epoch = batch_idx + 1 == len(runner.train_dataloader)
        if (
            not (request.agreed if runner.world_size > 1 else request.name)
            or not runner.optim_wrapper.should_update()
            or last_of_epoch
            or runner.train_loop.evaluates_after(runner.iter + 1)
        ):
            return
        self._end(runner, runner.iter + 1)

    def before_val(self, runner) -> None:
        """A safe place; the evaluation is left to the resumed run."""
        if runner._train_loop is None or not request.patient:
            return
        if self._agreed():
            self._end(runner, runner.iter, evaluation_due=True)
        self._shared_batches = len(runner.val_dataloader)
        if runner.world_size > 1:  # what is left over is not asked about
            shortest = torch.tensor(self._shared_batches, device=dist.get_comm_device())
            dist.all_reduce(shortest, "min")
            self._shared_batches = int(shortest)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """As :meth:`before_val`."""
        if batch_idx < self._shared_batches and self._agreed():
            self._end(runner, runner.iter, evaluation_due=True)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """The evaluation is made; the loop's next safe place follows."""
        self._shared_batches, self.evaluation_due = 0, False

    @staticmethod
    def _agreed() -> bool:
        """Whether a process was asked to end; all of them ask each other."""
        if dist.get_world_size() == 1:
            return bool(request.name)
        asked = torch.tensor(float(bool(request.name)), device=dist.get_comm_device())
        dist.all_reduce(asked, "max")
        return bool(asked)

    def _end(self, runner, iteration: int, evaluation_due: bool = False) -> None:
        """Writes the checkpoint and ends the run.

        Raises:
            Interrupted: Always.
        """
        folder, name = Path(runner.work_dir), f"iter_{iteration}.pth"
        previous = runner.message_hub.runtime_info.get(WRITTEN)
        runner.message_hub.update_info(WRITTEN, name)
        self._saved_due = evaluation_due
        meta = dict(epoch=runner.epoch, iter=iteration)
        runner.save_checkpoint(str(folder), name, meta=meta, by_epoch=False)
        if runner.rank == 0:
            write_atomically(folder / "last_checkpoint", str(folder / name))
            if previous and previous != name:
                (folder / previous).unlink(missing_ok=True)
        runner.call_hook("after_run")  # closes the logs, gives the terminal back
        sentence = (
            f"Interrupted ({request.name or 'another process was'}) at iteration {iteration}: "
            f"{folder / name} is written, --resume goes on from it."
        )
        dist.barrier()  # no process ends while another one still writes
        raise Interrupted(sentence if runner.rank == 0 else "", RESUMABLE)


def evaluation_is_due(runner) -> bool:
    """Whether a resumed run has to make the evaluation that its checkpoint broke off."""
    hooks = (hook for hook in runner.hooks if isinstance(hook, InterruptHook))
    return any(hook.evaluation_due for hook in hooks)
