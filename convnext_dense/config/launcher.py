"""What a launcher (torchrun, Slurm, MPI) announced in the environment, before processes connect."""

import os
import subprocess

from convnext_dense.errors import UserError

_WORLD_SIZE = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_RANK = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
# torch's variable -> the launcher's
_TRANSLATIONS = {
    "slurm": {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"},
    "mpi": {
        "RANK": "OMPI_COMM_WORLD_RANK",
        "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
        "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
    },
    "pytorch": {name: name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")},
}
_STARTED_BY = {"slurm": "srun", "mpi": "mpirun", "pytorch": "torchrun"}
_PORT = 29500  # torch's own; jobs of Slurm share machines, so each gets one of its own above


def announce(launcher: str) -> None:
    """Says in torch's variables what the launcher said in its own, meeting point included.

    Raises:
        UserError: When the process was not started by that launcher, or the meeting point of
            several machines is not known.
    """
    if launcher == "none":
        return
    for ours, theirs in _TRANSLATIONS[launcher].items():
        if theirs not in os.environ:
            raise UserError(
                f"--launcher {launcher} needs the variable {theirs}: start the tool by "
                f"{_STARTED_BY[launcher]} (docs/several_machines.md has the commands)."
            )
        os.environ[ours] = os.environ[theirs]
    if launcher == "slurm":
        port = _PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % 1000
        os.environ.setdefault("MASTER_PORT", str(port))
        if "MASTER_ADDR" not in os.environ:
            os.environ["MASTER_ADDR"] = _first_machine()


def _first_machine() -> str:
    """The name of the first machine of a Slurm job."""
    if os.environ.get("SLURM_NNODES", "1") == "1":
        return "127.0.0.1"
    command = ["scontrol", "show", "hostnames", os.environ.get("SLURM_NODELIST", "")]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return found.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise UserError(
            "scontrol does not tell the first machine of this job: export MASTER_ADDR in the job "
            "script (docs/several_machines.md has one)."
        ) from error


def world_size(launcher: str) -> int:
    """Number of training processes."""
    return 1 if launcher == "none" else _first(_WORLD_SIZE, default=1)


def rank(launcher: str) -> int:
    """Number of this process, from 0."""
    return 0 if launcher == "none" else _first(_RANK, default=0)


def _first(variables: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in variables if name in os.environ), default)
