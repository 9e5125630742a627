"""The processes that load data: they outlive signals to the group and read no pickles."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.utils.data._utils.signal_handling import _error_if_any_worker_fails

from convnext_dense.config.safe_reading import read_safely_from_now_on
from convnext_dense.errors import RunEndedError
from convnext_dense.runs.noise import filter_warnings

DIED = 1  # exit code: a process of the run is gone
# What torch says of a dead process, and the likely cause.
_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)")
_CAUSES = {
    "Killed": "most likely the memory was used up: lower train_dataloader.num_workers",
    "Bus error": "most likely shared memory (/dev/shm) was used up: enlarge it (docker: "
    "--shm-size=8g), or lower train_dataloader.num_workers",
    "Segmentation fault": "most likely a library crashed on a file: train_dataloader.num_workers=0 "
    "with persistent_workers=False shows where",
}
_ANY_CAUSE = "most likely for lack of memory or by a crash: the system's log (dmesg) tells which"


class DataWorkerSetup:
    """Prepares a process that loads data: it lives until its parent ends it, and reads no pickles.

    Signals to the whole group would kill it in the middle of the step that is to be finished.
    torch's own handler of SIGTERM does so for every sender but the parent.

    Args:
        prepare: What else prepares it, given its number.
    """

    def __init__(self, prepare: Callable[[int], None] | None) -> None:
        self.prepare = prepare

    def __call__(self, number: int) -> None:
        """Runs in the process, before it reads anything."""
        read_safely_from_now_on()
        filter_warnings()  # a process that is not forked begins with none
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=self._watch, daemon=True).start()
        if self.prepare is not None:
            self.prepare(number)

    @staticmethod
    def _watch() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
            pass
        os._exit(0)


@contextmanager
def explaining_dead_workers(advice: str) -> Iterator[None]:
    """Explains the death of a process that loads data.

    Args:
        advice: How to go on, a sentence.

    Raises:
        RunEndedError: Instead of torch's error.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        # torch's handler raises the same error again at every further process that ends.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        found = _find_death(error)
        if found is None:
            raise
        cause = next((why for how, why in _CAUSES.items() if how in found[2]), _ANY_CAUSE)
        how = found[2].split(". ")[0].rstrip(". ")
        raise RunEndedError(
            f"A process that loads data ({found[1]}) {how}; {cause}. {advice}", DIED
        ) from error


def _find_death(error: Exception) -> re.Match | None:
    """What torch says of a dead process, if that is behind an error."""
    # The loader says that a process is gone, the error before it tells how it ended.
    if found := _DEATH.search(str(error.__context__)) or _DEATH.search(str(error)):
        return found
    if isinstance(error, RuntimeError):
        return None
    # A process that died while it handed over a batch: the connection breaks first.
    time.sleep(0.5)
    try:
        _error_if_any_worker_fails()
    except RuntimeError as death:
        return _DEATH.search(str(death))
    return None
