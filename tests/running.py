"""Tools as a user runs them, each in a process of its own, without importing torch each time.

A server process imports the toolkit once and computes nothing; every run is a fork of it, with its
own arguments, folder and output. Importing takes longer than most runs of these tests.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 300
Env = dict[str, str] | None

_context = multiprocessing.get_context("forkserver")


def _start_server() -> None:
    """Starts the server where it does not run; it finds this folder's packages by PYTHONPATH."""
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([path] if path else [])])
    _context.set_forkserver_preload(["tests.imported"])
    multiprocessing.forkserver.ensure_running()
    if path is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = path


def run(tool: str, *arguments, code: int = 0, cwd: Path | None = None, env: Env = None) -> str:
    """Runs ``tools/<tool>.py`` to its end.

    Args:
        tool: Name of the tool.
        arguments: Its arguments; what is no text is made one.
        code: The exit code that it must have.
        cwd: The folder to run in; by default the present one.
        env: Environment variables for it beside those of the server.

    Returns:
        What it printed, its errors last.
    """
    return "".join(run_apart(tool, *arguments, code=code, cwd=cwd, env=env))


def run_apart(
    tool: str, *arguments, code: int = 0, cwd: Path | None = None, env: Env = None
) -> tuple[str, str]:
    """As :func:`run`; what it printed and its errors apart."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, "out"), Path(folder, "err")]
        words = [str(ROOT / f"tools/{tool}.py"), *map(str, arguments)]
        _start_server()
        folder = str(cwd or Path.cwd())
        process = _context.Process(target=_main, args=(words, streams, folder, env or {}))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        out, err = (stream.read_text() for stream in streams)
    assert process.exitcode == code, f"exit code {process.exitcode}\n{(out + err)[-4000:]}"
    if code == 2:
        assert "Traceback" not in out + err
    return out, err


def run_together(target: Callable, *arguments, processes: int = 2) -> None:
    """Calls ``target(rank, *arguments)`` in processes that find each other as torchrun's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _start_server()
    ranks = [
        _context.Process(target=_rank, args=(rank, processes, port, target, arguments))
        for rank in range(processes)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(SECONDS)
    alive = [process.kill() for process in ranks if process.is_alive()]
    assert not alive and [process.exitcode for process in ranks] == [0] * processes


def _rank(rank: int, processes: int, port: int, target: Callable, arguments: tuple) -> None:
    """A forked process: takes the place of one that torchrun starts."""
    number = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in number.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch = sys.modules["torch"]  # imported by the server alone
    torch.set_num_threads(1)
    target(rank, *arguments)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _main(words: list[str], streams: list[Path], folder: str, env: dict[str, str]) -> None:
    """The forked process: takes the place of ``python <words>`` in the folder."""
    os.environ.update(env)
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
    os.chdir(folder)
    sys.argv = words
    sys.path.insert(0, str(ROOT / "tools"))  # as for a script
    runpy.run_path(words[0], run_name="__main__")
