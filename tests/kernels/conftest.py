"""A process in which Triton interprets; it must be told before it is imported, and only there."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from processes import FOR_CHECKS

pytest.importorskip("triton", reason="Triton comes with torch for Linux with CUDA only")


def _start():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def interpreter():
    """Calls a function of `checks` by its name in the interpreter's process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FOR_CHECKS["cpu"].items():
            patch.setenv(name, value)
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start)
        pool.submit(os.getpid).result()
    with pool:
        yield lambda name, *arguments: pool.submit(_call, name, arguments).result()


def _call(name, arguments):
    from tests.kernels import checks

    return getattr(checks, name)(*arguments)
