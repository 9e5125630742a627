"""A kernel that fails in the middle of a training: torch's operators continue, nothing is lost."""

import importlib
import io
import logging
import warnings

import pytest
import torch

from convnext_dense import kernels
from convnext_dense.engine.fused_kernels import failures_in_log_file
from convnext_dense.kernels import failures
from convnext_dense.models import Block
from tests.kernels import plain
from tests.models.test_fast import new_block

CPU = torch.device("cpu")


@pytest.fixture
def interpreted(monkeypatch):
    """The fused path as users run it: failures fall back instead of raising."""
    pytest.importorskip("triton")
    if not failures.triton_interprets():
        pytest.skip("Triton compiles for the GPU here")
    monkeypatch.setenv("CONVNEXT_DENSE_KERNELS", "1")
    yield monkeypatch
    failures.forget_failures()


def train(fast: bool, with_cp: bool = False, iterations: int = 4) -> list[float]:
    """Losses of a few steps of two blocks, with stochastic depth."""
    from convnext_dense.models.staged_network import run_blocks

    blocks = torch.nn.Sequential(new_block(4, fast=fast), new_block(4, fast=fast, drop_path=0.3))
    optimizer = torch.optim.SGD(blocks.train().parameters(), 0.01)
    torch.manual_seed(2)
    losses = []
    for _ in range(iterations):
        x = torch.randn(2, 4, 2, 1)
        loss = run_blocks(blocks, x, with_cp).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


FAULTS = {
    "dwconv_norm": ("depthwise", "convolve_and_normalise"),
    "mlp_backward": ("products", "gelu_gradient"),
    "dwconv_norm_backward": ("norm", "norm_gradients"),
}


@pytest.mark.interpreted
@pytest.mark.parametrize("with_cp", [False, True])
@pytest.mark.parametrize("kernel", FAULTS)
def test_a_failure_at_the_second_iteration(interpreted, kernel, with_cp):
    module, name = FAULTS[kernel]
    module = importlib.import_module(f"convnext_dense.kernels.{module}")
    whole, calls = getattr(module, name), []
    a_step = 2 * (1 + (with_cp and kernel == "dwconv_norm"))

    def failing(*arguments):
        calls.append(name)
        if len(calls) > a_step:
            raise RuntimeError("Triton Error [CUDA]: misaligned address")
        return whole(*arguments)

    interpreted.setattr(module, name, failing)
    with pytest.warns(failures.KernelWarning) as caught:
        found = train(fast=True, with_cp=with_cp)
    assert len(calls) == a_step + 1  # never tried again
    (warning,) = [str(w.message) for w in caught]
    assert f"kernel {kernel} failed on cpu: RuntimeError: Triton Error [CUDA]: misal" in warning
    assert "Please report it" in warning and "convnext-dense doctor" in warning
    assert found == pytest.approx(train(fast=False), rel=1e-4)
    assert "earlier in this process" in kernels.available("cpu", torch.float32).reason


def test_the_warning_is_in_the_log_file_too(tmp_path):
    """Once on the screen, by Python, and once in the log file."""
    logger = logging.Logger("run", logging.ERROR)
    logger.addHandler(logging.StreamHandler(console := io.StringIO()))
    logger.addHandler(logging.FileHandler(tmp_path / "log"))
    with pytest.warns(UserWarning) as caught, failures_in_log_file(logger):
        warnings.warn("The fused kernel failed", failures.KernelWarning, stacklevel=1)
        warnings.warn("Another matter", stacklevel=1)
    assert [str(w.message) for w in caught] == ["The fused kernel failed", "Another matter"]
    assert (tmp_path / "log").read_text() == "The fused kernel failed\n"
    assert not console.getvalue()


class SignalError(Exception):
    """An exception as a signal handler may raise it."""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
        TimeoutError(),
        SignalError(),
    ],
    ids=repr,
)
def test_what_is_not_the_kernels_fault_is_raised(interpreted, error):
    def raise_error(*_):
        raise error

    from convnext_dense.kernels import depthwise

    interpreted.setattr(depthwise, "convolve_and_normalise", raise_error)
    with pytest.raises(type(error)):
        Block(4)(torch.zeros(1, 4, 2, 2))
    assert not failures.has_failed(CPU)


def test_the_rank_is_named(interpreted):
    interpreted.setenv("RANK", "3")
    assert "failed on cpu of rank 3: " in failures._message("mlp", CPU, RuntimeError())


def test_the_fallback_computes_what_the_kernels_do(interpreted):
    """Results, saved tensors and gradients by torch's operators, also of an empty batch."""
    from convnext_dense.kernels import depthwise, fallback, norm, operators

    torch.manual_seed(0)
    w, b, g, s = (v.detach() for v in plain.parameters(8)[:4])
    for count in (2, 0):
        x, grad = torch.randn(2, count, 3, 2, 8)
        ours = fallback.convolve_and_normalise(x, w, b, g, s, 1e-6, True)
        theirs = depthwise.convolve_and_normalise(x, w, b, g, s, 1e-6, True)
        _, *saved = ours
        gradients = fallback.dwconv_norm_gradients(grad, x, *saved, w, g, True, True)
        inner, vectors = norm.norm_gradients(grad, *saved, g)
        expected = depthwise.input_gradient(inner, w), depthwise.filter_gradient(x, inner), vectors
        for one, other in zip((*ours, *gradients), (*theirs, *expected), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert operators.dwconv_norm(x, w, b, g, s, 1e-6, False)[1].shape == (0, 3, 2, 8)


def test_a_picture_beyond_32_bit_offsets_is_left_to_torch(interpreted):
    from convnext_dense.kernels import operators

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = torch.empty(1, 2**16, 2**16, 1, device="meta")
        assert not operators._fits_32_bit_offsets(x) and operators._fits_32_bit_offsets(x[:, :1])
