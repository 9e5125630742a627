"""Peak memory of one model, in a process of its own."""

import contextlib
import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from convnext_dense.benchmark import networks as networks
from convnext_dense.benchmark.modes import Options, make_step
from convnext_dense.benchmark.timing import Step
from convnext_dense.config.safe_reading import safe_reading

MIB = 2**20
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def peak_memory_mb(name: str, options: Options) -> float | None:
    """Measures weights, pictures, activations and gradients at their peak (see :func:`peak_of`).

    Returns:
        MiB. None also where the compiler's memory would be counted.
    """
    if options.compile and options.device == "cpu":
        return None
    return peak_of(partial(_named_step, name, options), options.device, options.threads)


def peak_of(make: Callable[[], Step], device: str, threads: int | None = None) -> float | None:
    """Measures what a step and its making need at their peak, in a fresh process.

    Args:
        make: Can be pickled.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; torch's own choice where it is None.

    Returns:
        MiB allocated on the GPU, or by which the resident memory grew on the CPU, where the C
        library gives freed tensors back at once (else it keeps, by chance, up to a fifth of what
        it had: equal runs differ by 100 MiB). None on a CPU whose system does not tell it (no
        /proc).
    """
    # Not forked: a child of a process that ran parallel code can hang.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_here, make, device, threads).result()


def _named_step(name: str, options: Options) -> Step:
    return make_step(networks.build(name, options.image_size, options.num_classes), options)


@safe_reading()  # a spawned process knows nothing of its parent's refusal
def _peak_here(make: Callable[[], Step], device: str, threads: int | None) -> float | None:
    if threads:
        torch.set_num_threads(threads)
    _give_freed_memory_back()
    before = _resident_mib("VmRSS")
    step = make()
    step()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # compiling is over
    step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    peak = _resident_mib("VmHWM")
    return None if before is None or peak is None else peak - before


def _give_freed_memory_back() -> None:
    """Has glibc map every tensor by itself; it would raise that limit to 32 MiB by experience."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17)


def _resident_mib(field: str) -> float | None:
    """This process's size from /proc; getrusage's ru_maxrss would start at the parent's."""
    status = Path("/proc/self/status")
    line = re.search(rf"{field}:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(line[1]) / 1024 if line else None
