"""Resources of the compiled kernels per card, without a GPU: python -m tests.kernels.resources

The launch functions are called as the operators call them, with small CPU tensors. The launch is
replaced by Triton's warm-up, which compiles every configuration that would be autotuned, so that
types, alignment and constants are those of a real launch. Importing this module does not import
Triton, which compiles only in a process without TRITON_INTERPRET.
"""

import contextlib
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch

from tests.kernels.launches import DTYPES, LAUNCHES, Case, cases

# Largest shared memory of a block in bytes, by compute capability: "Technical specifications per
# compute capability" of the CUDA C++ Programming Guide.
CARDS = {80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024, 120: 99 * 1024}


class Resources(NamedTuple):
    """Resources of one kernel: registers and spilled bytes of a thread, shared bytes of a block.

    The spilled bytes are the thread's stack, as in Triton.
    """

    kernel: str
    config: str
    warps: int
    registers: int
    spilled: int
    shared: int


def resources(case: Case, first: bool = False) -> list[Resources]:
    """The resources of a launch's kernels; to be called in a process of :func:`compiler` only.

    Args:
        case: The launch to compile.
        first: Only the configuration that is used with deterministic algorithms.
    """
    return [_resources(kernel) for kernel in _compiled(case, first)]


def instructions(case: Case) -> list[str]:
    """The same kernels' PTX; to be called in a process of :func:`compiler` only."""
    return [kernel.asm["ptx"] for kernel in _compiled(case)]


def _compiled(case: Case, first: bool = False) -> list:
    kernels: list = []
    dtype = DTYPES[case.dtype.removesuffix("-tf32")]
    own = dtype if case.half_model else torch.float32
    torch.set_float32_matmul_precision("high" if "tf32" in case.dtype else "highest")
    torch.use_deterministic_algorithms(first)

    def draw(*shape: int, dtype: torch.dtype) -> torch.Tensor:
        skipped = 0 if case.aligned else 1
        return torch.zeros(torch.Size(shape).numel() + skipped, dtype=dtype)[skipped:].view(shape)

    launch, *options = LAUNCHES[case.launch]
    with _compiling(case.card, kernels):
        launch(draw, case.channels, dtype, own, *options)
    return kernels


@contextlib.contextmanager
def _compiling(card: int, kernels: list) -> Iterator[None]:
    """Compiles launches for a card instead of running them, and adds the kernels to a list."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import KernelInterface

    # A device number for each card, since a kernel caches its compiled code by that number.
    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", card, 32),
        get_current_device=lambda: card,
        get_current_stream=lambda device: 0,
    )
    launch = KernelInterface.__getitem__

    def compile_only(kernel, grid):
        def warm_up(*arguments, **options):
            compiled = kernel.warmup(*arguments, grid=grid, **options)
            kernels.extend(compiled if isinstance(compiled, list) else [compiled])

        return warm_up

    triton.runtime.driver.set_active(driver)
    KernelInterface.__getitem__ = compile_only
    try:
        yield
    finally:
        KernelInterface.__getitem__ = launch


def _resources(kernel) -> Resources:
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(kernel.asm["cubin"])
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # The kernels have no arrays on the stack: everything there was spilled.
    registers, spilled = re.search(r"REG:(\d+) STACK:(\d+)", text).groups()
    values = {kernel.src.fn.arg_names[i]: v for (i,), v in kernel.src.constants.items()}
    chosen = [f"{name} {values[name]}" for name in ("TW", "TH", "BN", "STEP") if name in values]
    return Resources(
        kernel.name, ", ".join(chosen), kernel.metadata.num_warps, int(registers), int(spilled),
        kernel.metadata.shared,
    )  # fmt: skip


def missing() -> str:
    """Why nothing can be compiled here; "" where it can."""
    spec = find_spec("triton")
    if spec is None:
        return "Triton comes with torch for Linux with CUDA only"
    tools = Path(spec.origin).parent / "backends/nvidia/bin"
    return "" if (tools / "ptxas").exists() else "this Triton has no ptxas"


def _start(cache: str) -> None:
    os.environ |= {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": cache, "CUDA_VISIBLE_DEVICES": ""}
    torch.set_num_threads(1)


@contextlib.contextmanager
def compiler(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes in which Triton compiles, also where this one interprets; with an empty cache."""
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as cache,
        ProcessPoolExecutor(processes, context, _start, (cache,)) as pool,
    ):
        yield pool


def table(
    pool: ProcessPoolExecutor, cases: list[Case], report: Callable[[str], None] = lambda line: None
) -> list[tuple[Case, Resources]]:
    """The resources of all kernels of the cases; each line is reported as soon as it is known."""
    rows = []
    for case, kernels in zip(cases, pool.map(resources, cases), strict=True):
        for row in kernels:
            rows.append((case, row))
            report(line(case, row))
    return rows


def line(case: Case, row: Resources) -> str:
    """One kernel as a line of text."""
    kind = case.dtype + ", all" * case.half_model + ", unaligned" * (not case.aligned)
    return (
        f"sm_{case.card:<4}{case.channels:5}  {kind:16}{case.launch:27}{row.kernel:25}"
        f"{row.config:16}{row.warps:3} warps {row.registers:4} registers "
        f"{row.spilled:5} spilled {row.shared:7} shared"
    )


def main() -> None:
    cards = [int(argument) for argument in sys.argv[1:]] or list(CARDS)
    with compiler(os.cpu_count() or 1) as pool:
        table(
            pool, [case for card in cards for case in cases(card)], lambda s: print(s, flush=True)
        )


if __name__ == "__main__":
    if reason := missing():
        sys.exit(f"Nothing can be compiled: {reason}.")
    main()
