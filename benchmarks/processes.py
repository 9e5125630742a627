"""Runs named parts of gpu.py in worker processes, so that a failing part does not stop others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

WORKER = Path(__file__).parent / "worker.py"
# Environment variables that enable the kernels, and those of the checks.
WITH_KERNELS = {"CONVNEXT_DENSE_KERNELS": "1"}
FOR_CHECKS = {
    # For deterministic matrix products of cuBLAS.
    "cuda": WITH_KERNELS | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    # Without a GPU the kernels run in Triton's interpreter, which is slow.
    "cpu": WITH_KERNELS
    | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
}
START_S = 90  # a process that takes longer to start hangs


@dataclass(frozen=True)
class Row:
    """The result of a part; the names are also keys of the JSON file.

    Attributes:
        name: The part's name.
        state: ``passed``, ``FAILED``, ``not run`` or, for a speed line, ``measured``.
        said: One sentence: why it failed or did not run, or a remark.
        seconds: Its duration.
        ours, plain, peer: Images per second with the kernels, on our plain path, of the peer.
        ratio, wanted: Ours over the peer's, and the target.
        to_plain: Ours over our plain path's.
        memory: Ratio of peak memory to the peer's.
        of_ideal: Share of an H200's ideal speed.
    """

    name: str
    state: str
    said: str = ""
    seconds: float = 0.0
    ours: float | None = None
    plain: float | None = None
    peer: float | None = None
    ratio: float | None = None
    wanted: float | None = None
    to_plain: float | None = None
    memory: float | None = None
    of_ideal: float | None = None


@dataclass(frozen=True)
class Setting:
    """The options for running parts.

    Attributes:
        device: ``cuda`` or ``cpu``.
        begin: Seconds since the epoch from which ``seconds`` count.
        seconds: Time after which no part is started.
        grace: Additional seconds after which running parts are ended.
        limit: Seconds for one part; after that it has failed, and its process is ended.
        small: Tiny batches and images in the speed lines.
        rounds: Rounds of the speed lines.
        variables: Environment variables.
    """

    device: str
    begin: float
    seconds: float
    grace: float
    limit: float
    small: bool = False
    rounds: int = 5
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """Seconds since the epoch when everything must have ended."""
        return self.begin + self.seconds + self.grace

    @property
    def over(self) -> str:
        """The reason why a late part did not run."""
        return f"{self.seconds / 60:.3g} minutes are over."


def make_groups(
    names: Sequence[str], setting: Setting, report: Callable[[Row], None] = lambda row: None
) -> list[Row]:
    """Runs the parts of each group in a separate process, the groups at the same time.

    Args:
        names: ``group/name`` each.
        setting: The options, the same for all.
        report: Called with each row as it comes, from several threads.

    Returns:
        A row for each name, in the order of the names.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0], []).append(name)
    with ThreadPoolExecutor(max(1, len(groups))) as pool:
        groups_of_rows = pool.map(lambda group: make(group, setting, report), groups.values())
        rows = {row.name: row for group in groups_of_rows for row in group}
    return [rows[name] for name in names]


def make(names: Sequence[str], setting: Setting, report: Callable[[Row], None]) -> list[Row]:
    """Runs parts one after another; a process that ends early is followed by another one."""
    rows, remaining = [], list(names)
    while remaining:
        finished, running, killed, code = _run(remaining, setting, report)
        remaining = remaining[len(finished) :]
        lost = _lost_rows(remaining, running, bool(finished), killed, code, setting)
        for row in lost:
            report(row)
        rows += finished + lost
        remaining = remaining[len(lost) :]
    return rows


def _run(
    names: Sequence[str], setting: Setting, report: Callable[[Row], None]
) -> tuple[list[Row], str | None, bool, int]:
    """One process: its rows, the part that ran at its end, whether it was killed, its exit code."""
    task = dict(
        names=list(names),
        device=setting.device,
        until=setting.begin + setting.seconds,
        over=setting.over,
        small=setting.small,
        rounds=setting.rounds,
    )
    process = subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(task)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | setting.variables,
    )
    rows, running, killed = [], None, threading.Event()

    def kill() -> None:
        killed.set()
        process.kill()

    timer = _alarm(min(START_S, setting.end - time.time()), kill)
    for line in process.stdout:
        message = json.loads(line)
        timer.cancel()
        timer = _alarm(min(setting.limit, setting.end - time.time()), kill)
        running = message.get("start")
        if running is None:
            rows.append(Row(**message))
            report(rows[-1])
    code = process.wait()
    timer.cancel()
    return rows, running, killed.is_set(), code


def _lost_rows(
    rest: Sequence[str], running: str | None, began: bool, killed: bool, code: int, setting: Setting
) -> list[Row]:
    """Rows for parts without a result that another process will not run either."""
    if killed and time.time() >= setting.end:
        return [Row(name, "not run", setting.over) for name in rest]
    if began and running is None and not killed:
        return []  # the process ended itself after an error that persists on the device
    said = f"It took longer than {setting.limit if running else START_S:.0f} s."
    # A process that cannot start would not start for the next part either.
    names = rest[:1] if began or running else rest
    return [Row(name, "FAILED", said if killed else _exit_reason(code)) for name in names]


def _alarm(seconds: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(max(0.0, seconds), call)
    timer.daemon = True
    timer.start()
    return timer


def _exit_reason(code: int) -> str:
    if code < 0:
        return f"Its process was ended by {signal.Signals(-code).name}."
    return f"Its process ended with code {code}; its output is above."
