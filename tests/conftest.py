"""Shared by all tests: parity numbers, one thread, reasons of skips, and the fused path's twins."""

import contextlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "data"
NO_GPU = "needs a CUDA device"

# Without a GPU Triton interprets its kernels, so that the fused path can be tested. Triton has to
# be told before it is imported; blocks take that path only where CONVNEXT_DENSE_KERNELS=1 is set.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# After that: the package imports Triton.
from tests.miniature import birds, data_root, options, streets  # noqa: E402, F401  (fixtures)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Says how a worker process of xdist ended, where it should not have: -9 is SIGKILL."""
    process = getattr(getattr(node.gateway, "_io", None), "popen", None)
    if error and process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it lives on after Ctrl-C
            print(f"\n{node.gateway.id} ended with {process.wait(10)}: {error}", flush=True)


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    # Tiny tensors: threads cost more than they bring, and the tests share the machine.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def convnext_parity():
    """Outputs and gradients of the official implementation, as plain arrays."""
    return np.load(DATA / "convnext_parity.npz")


@pytest.fixture
def fused_path(monkeypatch):
    """Blocks take the fused kernels, in Triton's interpreter; a kernel's failure is the test's.

    Gives the list of the batch sizes that blocks have handed to the kernels.
    """
    pytest.importorskip("triton", reason="Triton comes with torch for Linux with CUDA only")
    from convnext_dense import kernels
    from convnext_dense.kernels import failures

    if not failures.triton_interprets():
        pytest.skip("Triton compiles for the GPU here: CUDA_VISIBLE_DEVICES= runs this test")
    monkeypatch.setenv("CONVNEXT_DENSE_KERNELS", "1")
    batches, block = [], kernels.block

    def counted(x, *others, **settings):
        batches.append(len(x))
        return block(x, *others, **settings)

    monkeypatch.setattr(kernels, "block", counted)
    with failures.raise_kernel_errors():
        yield batches


@pytest.fixture(autouse=True)
def block_path(request):
    """For tests marked `both_paths`: nothing, or the fused path, which has to be taken."""
    if getattr(request, "param", "own") == "own":
        yield
        return
    batches = request.getfixturevalue("fused_path")
    yield
    assert batches or not request.node.get_closest_marker("both_paths").kwargs.get("taken", True)


def pytest_generate_tests(metafunc):
    """Tests marked `both_paths` run once more, with the blocks' fused path, as `interpreted`."""
    marker = metafunc.definition.get_closest_marker("both_paths")
    if marker is None:
        return
    marks = [pytest.mark.interpreted, *([pytest.mark.slow] if marker.kwargs.get("slow") else [])]
    ways = [
        pytest.param("own", id=pytest.HIDDEN_PARAM),
        pytest.param("fused", id="fused", marks=marks),
    ]
    metafunc.parametrize("block_path", ways, indirect=True)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items):
    """Marks what runs interpreted; skips `gpu`, with the reason, where there is no CUDA device."""
    for item in items:
        if "fused_path" in item.fixturenames:
            item.add_marker("interpreted")
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
        name: sum(
            "gpu" in getattr(one, "keywords", ()) for one in terminalreporter.getreports(name)
        )
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
