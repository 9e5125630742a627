"""The work folder of a run: one run a folder, never overwritten, with its environment."""

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

from convnext_dense import ops
from convnext_dense.atomic_files import keep_previous, write_atomically
from convnext_dense.config.shipped import CONFIGS
from convnext_dense.errors import UserError
from convnext_dense.kernels.availability import SWITCH
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.version import __version__
from convnext_dense.weights.zoo import OFFICIAL_FILES

PACKAGES = (
    "torch",
    "torchvision",
    "triton",
    "timm",
    "mmengine",
    "mmcv",
    "mmcv-lite",
    "mmdet",
    "mmsegmentation",
    "pycocotools",
    "faster-coco-eval",
    "numpy",
    "opencv-python",
)

LOCK = ".lock"
BEGUN = "lr_groups.csv"  # written when the first step begins
_locks = []  # closing such a file would unlock it


def claim(work_dir: Path, *, resume: bool, processes: int = 1) -> None:
    """Takes a work folder for a training run and writes ``env.json`` into it.

    Raises:
        UserError: When another process writes into the folder, or the folder holds another run
            and this one does not resume it.
    """
    env = work_dir / "env.json"
    lock(work_dir)  # before looking: what is there stays as it is from here on
    refuse_used(work_dir, resume)
    try:
        for torso in work_dir.glob(".*.pth.*"):  # of a run that was killed while writing
            torso.unlink()
        keep_previous(env)
        write_atomically(env, json.dumps(environment(processes), indent=2))
    except OSError as error:
        raise UserError(f"The work folder {work_dir} cannot be written: {error}") from error


def refuse_used(work_dir: Path, resume: bool) -> None:
    """Refuses the folder of another run, unless this one resumes it.

    Raises:
        UserError: Says how to go on.
    """
    # A run that failed before its first step left nothing to lose.
    if (work_dir / BEGUN).exists() and not resume:
        raise UserError(
            f"{work_dir} holds a run already: continue it with --resume, or name another folder "
            "with --work-dir."
        )


def lock(work_dir: Path) -> None:
    """Keeps other processes out of a work folder until this one ends, however it ends.

    A record lock belongs to the process: the system drops it even after kill -9, and the workers
    that load data do not inherit it. Where the file system has no locks, nothing is kept out, and a
    line says so.

    Raises:
        UserError: When another process holds it, or the folder cannot be written.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        handle = open(work_dir / LOCK, "a")  # noqa: SIM115 (open until the process ends)
    except OSError as error:
        raise UserError(f"The work folder {work_dir} cannot be written: {error}") from error
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        handle.close()
        raise UserError(
            f"Another process writes into {work_dir} right now: wait for it, or name another "
            "folder with --work-dir."
        ) from error
    except OSError as error:  # ENOLCK, ENOTSUP
        handle.close()
        print_log(f"{work_dir} cannot be locked ({error.strerror}): start one run there at a time.")
        return
    _locks.append(handle)


def resolve_checkpoint(source: str) -> str:
    """The newest checkpoint where ``source`` is a work folder; else ``source``: file, URL, name.

    Of a folder that was made to be shared it is the one ``.safetensors`` file.
    """
    if not Path(source).is_dir():
        return str(source)
    found = newest_whole(Path(source))
    shared = list(Path(source).glob("*.safetensors"))
    if found is None and len(shared) == 1:
        return str(shared[0])
    return str(found or source)


def checkpoint_of(config: str | Path, checkpoint: str | None) -> str:
    """The checkpoint that a command means.

    Args:
        config: The config file.
        checkpoint: What the user named: see :func:`resolve_checkpoint`. Without it, the newest
            checkpoint of the work folder that holds the config, else the config's official file.

    Raises:
        UserError: When nothing is named and there is neither.
    """
    if checkpoint is not None:
        return resolve_checkpoint(checkpoint)
    path = Path(config)
    if found := newest_whole(path.parent):
        return str(found)
    if (official := OFFICIAL_FILES.get(path.stem)) and path.is_relative_to(CONFIGS):
        return official
    raise UserError(
        f"{path.name} has no official file and lies in no work folder with a checkpoint: name a "
        "checkpoint."
    )


def environment(processes: int = 1) -> dict[str, Any]:
    """Versions, devices, git revision and command: what it takes to repeat a run."""
    return {
        "convnext_dense": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "mmcv_operators": ops.provider(),
        "cuda": torch.version.cuda,
        "device": device(),
        "fused_kernels": os.environ.get(SWITCH),
        "cpu_count": os.cpu_count(),
        "processes": processes,
        "git_revision": _git_revision(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def device() -> str:
    """The GPUs of this machine, or its CPU."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def _git_revision() -> str | None:
    """Revision of the source tree, ``+`` where it has local changes; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
