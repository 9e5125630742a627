"""Peak memory of one model, in a separate process."""

import contextlib
import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from convnext_dense.benchmark import networks
from convnext_dense.benchmark.modes import Options, make_step
from convnext_dense.benchmark.timing import Step
from convnext_dense.config.safe_reading import safe_reading

MIB = 2**20
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def peak_memory_mb(name: str, options: Options) -> float | None:
    """Measures the peak of weights, images, activations and gradients (see :func:`peak_of`).

    Returns:
        MiB. None also where the compiler's memory would be included.
    """
    if options.compile and options.device == "cpu":
        return None
    return peak_of(partial(_named_step, name, options), options.device, options.threads)


def peak_of(make: Callable[[], Step], device: str, threads: int | None = None) -> float | None:
    """Measures the peak memory of a step and its construction, in a new process.

    Args:
        make: Can be pickled.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; torch's own choice where it is None.

    Returns:
        MiB allocated on the GPU; on the CPU the growth of the resident memory, with a C library
        that returns freed tensors at once (else it keeps up to a fifth of its memory by chance,
        and equal runs differ by 100 MiB). None on a CPU without /proc.
    """
    # Not forked: a child of a process that ran parallel code can hang.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_here, make, device, threads).result()


def _named_step(name: str, options: Options) -> Step:
    return make_step(networks.build(name, options.image_size, options.num_classes), options)


@safe_reading()  # a spawned process does not inherit it
def _peak_here(make: Callable[[], Step], device: str, threads: int | None) -> float | None:
    if threads:
        torch.set_num_threads(threads)
    give_freed_memory_back()
    before = _resident_mib("VmRSS")
    step = make()
    step()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # without the compilation
    step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    peak = _resident_mib("VmHWM")
    return None if before is None or peak is None else peak - before


def give_freed_memory_back() -> None:
    """Makes glibc map each tensor separately; by default it raises this limit up to 32 MiB."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17)


def _resident_mib(field: str) -> float | None:
    """This process's memory from /proc; getrusage's ru_maxrss would start at the parent's."""
    status = Path("/proc/self/status")
    line = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(line[1]) / 1024 if line else None
