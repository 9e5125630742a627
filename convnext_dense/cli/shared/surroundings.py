"""What surrounds a training or a test: peers that end, data workers that die, failing kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

from convnext_dense.engine.fused_kernels import failures_in_log_file
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.runs.data_workers import explaining_dead_workers
from convnext_dense.runs.peer_processes import ending_with_peers
from convnext_dense.runs.progress import bar_ends_with


@contextmanager
def surrounded(runner: DenseRunner, advice: str) -> Iterator[None]:
    """Explains an end of the run that is not its own fault.

    Args:
        runner: The built runner; its processes are connected.
        advice: How to go on, a sentence.
    """
    with (
        bar_ends_with(runner),
        ending_with_peers(advice),
        explaining_dead_workers(advice),
        failures_in_log_file(runner.logger),
    ):
        yield
