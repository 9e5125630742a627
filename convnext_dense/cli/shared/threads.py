"""How the CPU threads of a command wait for each other; read before torch is imported."""

import os

# What libgomp itself takes where it knows of more threads than cores; about 0.05 ms.
SPINS = "1000"


def wait_without_spinning() -> None:
    """Lets OpenMP's idle threads sleep soon, unless the environment says how they wait.

    By default a thread that waits for another one spins for several milliseconds. Beside other
    programs the other thread has no core meanwhile, so both cores mostly spin: the demo's
    iterations needed five times the processor time and as many times longer. libgomp reads the
    variable when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
