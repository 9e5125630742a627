"""Shared by all tests: where the parity numbers lie, one thread, and tests that need a GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "data"
NO_GPU = "needs a CUDA device"


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    # Tiny tensors: threads cost more than they bring, and the tests share the machine.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def convnext_parity():
    """Outputs and gradients of the official implementation, as plain arrays."""
    return np.load(DATA / "convnext_parity.npz")


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped, with the reason, where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason=NO_GPU)
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """How many tests marked `gpu` there were: without a GPU nothing of them is shown to work."""
    yield  # the reasons of skips come before
    outcomes = {
        name: sum("gpu" in one.keywords for one in terminalreporter.getreports(name))
        for name in ("passed", "failed", "error", "skipped")
    }
    total = sum(outcomes.values())
    if not total:
        return
    if torch.cuda.is_available():
        counts = ", ".join(f"{count} {name}" for name, count in outcomes.items())
        terminalreporter.write_line(f"{total} tests on {torch.cuda.get_device_name()}: {counts}")
    else:
        word = "test needs" if total == 1 else "tests need"
        terminalreporter.write_line(f"{total} {word} a CUDA device: skipped")
