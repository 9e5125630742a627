"""When the kernels are available, and that nothing else needs Triton."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convnext_dense import kernels
from convnext_dense.errors import UserError
from convnext_dense.kernels import availability, failures

RESULTS = Path(__file__).parents[2] / "docs/results.md"


@pytest.fixture
def gpu(monkeypatch):
    """Pretends that the machine has an A100."""
    monkeypatch.setattr(availability, "_reasons", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _=None: "NVIDIA A100")
    monkeypatch.setattr(availability, "find_failure", lambda device, dtype: "")
    for name in ("TRITON_INTERPRET", "CONVNEXT_DENSE_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_available(gpu):
    assert kernels.available() and kernels.available().reason == ""


def test_blocks_use_the_kernels_when_they_are_enabled(gpu):
    assert not kernels.usable("cuda", None, torch.float16)
    gpu.setenv("CONVNEXT_DENSE_KERNELS", "1")
    assert kernels.usable("cuda", None, torch.float16)
    assert not kernels.usable("cpu", None, torch.float32)
    gpu.setenv("CONVNEXT_DENSE_KERNELS", "yes")
    with pytest.raises(UserError, match="must be 1 .*, 0 .* or unset, got 'yes'"):
        kernels.usable("cuda", None, torch.float16)


def test_blocks_use_the_kernels_on_gpus_measured_to_be_faster(gpu):
    gpu.setattr(availability, "FASTER_ON", ("NVIDIA A100",))
    assert kernels.usable("cuda", 0, torch.bfloat16)
    gpu.setenv("CONVNEXT_DENSE_KERNELS", "0")
    assert not kernels.usable("cuda", 0, torch.bfloat16)
    gpu.delenv("CONVNEXT_DENSE_KERNELS")
    gpu.setattr(torch.cuda, "get_device_name", lambda _=None: "NVIDIA L4")
    assert not kernels.usable("cuda", 0, torch.bfloat16)


def test_every_gpu_on_the_list_has_its_table():
    tables = re.findall(r"^Machine GPU: (.+?)[,.]", RESULTS.read_text(encoding="utf-8"), re.M)
    assert set(availability.FASTER_ON) <= set(tables)
    assert tables or not availability.FASTER_ON


def test_the_sentence_in_the_log(gpu):
    device = torch.device("cuda", 0)
    assert "CONVNEXT_DENSE_KERNELS=1 enables" in availability.describe(device, torch.bfloat16)
    gpu.setenv("CONVNEXT_DENSE_KERNELS", "0")
    assert "since CONVNEXT_DENSE_KERNELS is 0" in availability.describe(device, torch.bfloat16)
    gpu.setenv("CONVNEXT_DENSE_KERNELS", "1")
    assert (
        availability.describe(device, torch.bfloat16) == "Blocks: the fused kernels, in bfloat16."
    )
    refused = availability.describe(device, torch.float64)
    assert "though the kernels are enabled. The kernels compute in" in refused
    gpu.delenv("CONVNEXT_DENSE_KERNELS")
    assert availability.describe(torch.device("cpu"), torch.float32) == ""


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


def test_an_old_torch(gpu):
    gpu.setattr(torch, "__version__", "2.8.0+cu128")
    assert "need torch 2.9 or newer; this is 2.8.0" in kernels.available().reason


def test_nothing_is_tried_while_a_graph_is_captured(gpu):
    """The trial waits for the device, which is forbidden then; a later call makes it."""
    gpu.setattr(failures, "capturing_cuda_graph", lambda: True)
    assert "while a CUDA graph is captured" in kernels.available("cuda", torch.float16).reason
    gpu.setattr(failures, "capturing_cuda_graph", lambda: False)
    assert kernels.available("cuda", torch.float16)
    gpu.setattr(failures, "capturing_cuda_graph", lambda: True)
    assert kernels.available("cuda", torch.float16)


def test_import_and_plain_operators_without_triton():
    """Windows, macOS, CPU builds: the operators exist and compute by torch's operators."""
    program = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from convnext_dense import kernels\n"
        "assert not kernels.available('cpu')\n"
        "y = torch.randn(1, 2, 2, 4, requires_grad=True)\n"
        "p = [torch.randn(s) for s in ((16, 4), (16,), (4, 16), (4,), (4,))]\n"
        "kernels.mlp(y, y.detach(), *p).sum().backward()\n"
        "assert y.grad.abs().sum() > 0\n"
        "c = [torch.randn(s) for s in ((4, 1, 7, 7), (4,), (4,), (4,))]\n"
        "x = torch.randn(1, 4, 3, 2, requires_grad=True)\n"
        "kernels.block(x, *c, 1e-6, *p).sum().backward()\n"
        "assert x.grad.abs().sum() > 0\n"
    )
    environment = {"TRITON_INTERPRET": "", "PYTHONPATH": str(RESULTS.parents[1])}
    subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program], check=True, env=environment
    )
