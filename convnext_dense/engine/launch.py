"""What a launcher (torchrun, Slurm, MPI) announced in the environment, before processes connect."""

import os

_WORLD_SIZE = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_RANK = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


def world_size(launcher: str) -> int:
    """Number of training processes."""
    return 1 if launcher == "none" else _first(_WORLD_SIZE, default=1)


def rank(launcher: str) -> int:
    """Number of this process, from 0."""
    return 0 if launcher == "none" else _first(_RANK, default=0)


def _first(variables: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in variables if name in os.environ), default)
