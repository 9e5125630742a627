"""Whether the kernels may be called, and that nothing needs Triton before they are."""

import subprocess
import sys

import pytest
import torch

from convnext_dense import kernels
from convnext_dense.kernels import availability


@pytest.fixture
def gpu(monkeypatch):
    """A machine that looks as if it had an A100."""
    availability._reason.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (8, 0))
    monkeypatch.setattr(availability, "failure", lambda device, dtype: "")
    yield monkeypatch
    availability._reason.cache_clear()


def test_available(gpu):
    assert kernels.available() and kernels.available().reason == ""
    assert kernels.usable("cuda", None, torch.float16)


@pytest.mark.parametrize(
    ("change", "arguments", "reason"),
    [
        (None, ("cpu",), "tensors are on cpu"),
        (None, ("cuda", torch.float64), "not in torch.float64"),
        (("get_device_capability", lambda _=None: (7, 5)), (), "capability is 7.5"),
        (("is_available", lambda: False), (), "no CUDA device"),
    ],
)
def test_reasons(gpu, change, arguments, reason):
    if change:
        gpu.setattr(torch.cuda, *change)
    answer = kernels.available(*arguments)
    assert not answer and reason in answer.reason


def test_switched_off(gpu):
    gpu.setenv("CONVNEXT_DENSE_KERNELS", "0")
    assert "switched off" in kernels.available().reason


def test_without_triton(gpu):
    gpu.setattr(availability.importlib.util, "find_spec", lambda _: None)
    assert "not installed" in kernels.available().reason


def test_import_and_plain_mlp_without_triton():
    """Windows, macOS, CPU builds: the operators are there, and plain products work."""
    program = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from convnext_dense import kernels\n"
        "assert not kernels.available('cpu')\n"
        "y = torch.randn(1, 2, 2, 4, requires_grad=True)\n"
        "p = [torch.randn(s) for s in ((16, 4), (16,), (4, 16), (4,), (4,))]\n"
        "kernels.mlp(y, y.detach(), *p).sum().backward()\n"
        "assert y.grad.abs().sum() > 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
