"""Makes named parts of gpu.py in worker processes: whatever one does, the others are made."""

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
# What the environment says: the kernels are wanted, and how the checks get them.
ASKED_FOR = {"CONVNEXT_DENSE_KERNELS": "1"}
FOR_CHECKS = {
    # For matrix products of cuBLAS that repeat.
    "cuda": ASKED_FOR | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    # Without a GPU the kernels run in Triton's interpreter, which is slow.
    "cpu": ASKED_FOR
    | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
}
START_S = 90  # a process that has not begun by then hangs


@dataclass(frozen=True)
class Row:
    """What became of a part.

    Attributes:
        name: Of the part.
        state: ``passed``, ``FAILED``, ``not run`` or, for a speed line, ``measured``.
        said: One sentence: why it failed or was not run, or a remark.
        seconds: What it took.
        ours, plain, peer: Pictures per second with the kernels, on our plain path, of the peer.
        ratio, wanted: Ours over the peer's, and what is wanted.
        to_plain: Ours over our plain path's.
        memory: Ratio of peak memory to the peer's.
        of_ideal: Share of what an H200 could do.
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
    """How parts are made.

    Attributes:
        device: ``cuda`` or ``cpu``.
        begin: Seconds since the epoch from which ``seconds`` count.
        seconds: After these no part is started.
        grace: After these many more the running ones are ended.
        limit: Seconds for one part; it has failed then, and its process is ended.
        small: Tiny batches and pictures in the speed lines.
        rounds: Of the speed lines.
        variables: Of the environment.
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
        """Seconds since the epoch when everything has to be over."""
        return self.begin + self.seconds + self.grace

    @property
    def over(self) -> str:
        """Why a part was not run that came too late."""
        return f"{self.seconds / 60:.3g} minutes are over."


def make_groups(
    names: Sequence[str], setting: Setting, tell: Callable[[Row], None] = lambda row: None
) -> list[Row]:
    """Makes the parts of each group in a process of its own, the groups at the same time.

    Args:
        names: ``group/name`` each.
        setting: For all.
        tell: Called with each row as it comes, from several threads.

    Returns:
        A row for each name, in the order of the names.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0], []).append(name)
    with ThreadPoolExecutor(max(1, len(groups))) as pool:
        found = pool.map(lambda group: make(group, setting, tell), groups.values())
        rows = {row.name: row for group in found for row in group}
    return [rows[name] for name in names]


def make(names: Sequence[str], setting: Setting, tell: Callable[[Row], None]) -> list[Row]:
    """Makes parts one after the other; a process that ends early is followed by another one."""
    rows, left = [], list(names)
    while left:
        told, running, killed, code = _run(left, setting, tell)
        rest = left[len(told) :]
        lost = _lost(rest, running, bool(told), killed, code, setting)
        for row in lost:
            tell(row)
        rows += told + lost
        left = rest[len(lost) :]
    return rows


def _run(
    names: Sequence[str], setting: Setting, tell: Callable[[Row], None]
) -> tuple[list[Row], str | None, bool, int]:
    """One process: its rows, what ran when it ended, whether it was killed, and its exit code."""
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
        report = json.loads(line)
        timer.cancel()
        timer = _alarm(min(setting.limit, setting.end - time.time()), kill)
        running = report.get("start")
        if running is None:
            rows.append(Row(**report))
            tell(rows[-1])
    code = process.wait()
    timer.cancel()
    return rows, running, killed.is_set(), code


def _lost(
    rest: Sequence[str], running: str | None, began: bool, killed: bool, code: int, setting: Setting
) -> list[Row]:
    """Rows of the parts without one that another process shall not make either."""
    if killed and time.time() >= setting.end:
        return [Row(name, "not run", setting.over) for name in rest]
    if began and running is None and not killed:
        return []  # it gave up by itself after an error that the device keeps
    said = f"It took longer than {setting.limit if running else START_S:.0f} s."
    # A process that cannot even begin would not do so for the next part.
    names = rest[:1] if began or running else rest
    return [Row(name, "FAILED", said if killed else _ended(code)) for name in names]


def _alarm(seconds: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(max(0.0, seconds), call)
    timer.daemon = True
    timer.start()
    return timer


def _ended(code: int) -> str:
    if code < 0:
        return f"Its process was ended by {signal.Signals(-code).name}."
    return f"Its process ended with code {code}; what it said is above."
