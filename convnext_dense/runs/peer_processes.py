"""Processes that run together end together, and say which of them was the first."""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine import dist

from convnext_dense.runs.signals import SIGNALS, request

PERIOD = 0.5  # seconds between two looks at the others
PATIENCE = 5.0  # seconds in which a process whose connection broke is found to have ended


@contextmanager
def ending_with_peers(advice: str) -> Iterator[None]:
    """Ends this process with a message when another one of the run has ended before.

    A process that is killed leaves the others waiting for it: NCCL waits for minutes, and its
    message does not say which process ended. Here the processes of a machine watch each other.
    torchrun and ``srun --kill-on-bad-exit`` end those of the other machines.

    Args:
        advice: How to go on, a sentence.
    """
    if dist.get_world_size() == 1:
        yield
        return
    watch = _Watch(advice)
    watch.start()
    try:
        yield
    except RuntimeError:  # what gloo and NCCL raise where a connection breaks
        if gone := watch.wait_for_the_gone():
            watch.report(gone)
            sys.exit(1)
        raise
    finally:
        watch.stop()
    dist.barrier()  # no process ends while another one still watches


class _Watch:
    """A thread that looks at the other processes of this machine; it runs while NCCL blocks."""

    def __init__(self, advice: str) -> None:
        self.advice = advice
        self.rank = dist.get_rank()
        self.host = socket.gethostname()
        everyone = dist.all_gather_object((self.host, os.getpid()))
        self.pids = {
            rank: pid
            for rank, (host, pid) in enumerate(everyone)
            if host == self.host and rank != self.rank
        }
        if self.gone():  # containers that do not see each other, or a system without /proc
            self.pids = {}
        self.reader, self.writer = socket.socketpair()
        self.writer.setblocking(False)
        self.stopped = threading.Event()

    def start(self) -> None:
        """Starts the thread; a request to end reaches it even where Python waits."""
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self.stopped.set()
        signal.set_wakeup_fd(-1)

    def gone(self) -> list[int]:
        """The other processes of this machine that have ended, by rank."""
        return [rank for rank, pid in self.pids.items() if _has_ended(pid)]

    def wait_for_the_gone(self) -> list[int]:
        """As :meth:`gone`; gives them a moment to end."""
        deadline = time.monotonic() + PATIENCE
        while not (gone := self.gone()) and self.pids and time.monotonic() < deadline:
            time.sleep(0.1)
        return gone

    def report(self, gone: list[int]) -> None:
        """Prints who has ended and how to go on, once a machine."""
        if self.rank != min({self.rank, *self.pids} - set(gone)):
            return
        who = " and ".join(f"rank {rank} (process {self.pids[rank]})" for rank in gone)
        self._print(
            f"{who} on {self.host} ended before the run did (what it printed last tells why; "
            f"nothing, where it was killed, as for lack of memory). All processes end. "
            f"{self.advice}"
        )

    def _run(self) -> None:
        while not self.stopped.is_set():
            readable, _, _ = select.select([self.reader], [], [], PERIOD)
            received = self.reader.recv(64) if readable else b""
            told = any(number in received for number in SIGNALS)
            if told and request.patient:  # the main thread ends the run, unless told again
                request.repeat()
                continue
            if told:  # it leaves by itself, unless it waits for the others
                self.stopped.wait(PATIENCE)
            gone = self.gone()
            if self.stopped.is_set() or not (gone or told):
                continue
            if gone:
                self.report(gone)
            elif self.rank == min({self.rank, *self.pids}):
                self._print(
                    f"The processes on {self.host} were told to end, by a user or "
                    f"because one on another machine has ended; its launcher names it. "
                    f"{self.advice}"
                )
            os._exit(1 if gone else 128 + signal.SIGTERM)

    @staticmethod
    def _print(message: str) -> None:
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr, flush=True)


def _has_ended(pid: int) -> bool:
    """Whether a process is no more, or only its parent does not know yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"
