"""The operators are tested through mmcv's own wrappers, which import `mmcv._ext`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from convnext_dense.ops import install, provider

install()


@pytest.fixture(autouse=True)
def our_operators():
    if provider() == "mmcv":
        pytest.skip("a compiled mmcv is installed and its own operators are in use")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def parity() -> Callable[[str], torch.Tensor]:
    """Numbers of the compiled mmcv 2.1.0 on the CPU, by name."""
    with np.load(Path(__file__).parents[1] / "data" / "mmcv_ops_parity.npz") as file:
        tensors = {name: torch.from_numpy(file[name]) for name in file}
    return lambda name: tensors[name].clone()


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)
