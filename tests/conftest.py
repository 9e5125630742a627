"""Shared by all tests: where the parity numbers lie, one thread, and the reason of a skip."""

from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "data"


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
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
