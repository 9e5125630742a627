"""The trial of the kernels, which are replaced here by right and wrong functions of torch."""

import pytest
import torch

from convnext_dense import kernels
from convnext_dense.kernels import availability, trial
from convnext_dense.models import Block

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_right_kernels_pass_in_any_context(dtype, monkeypatch):
    monkeypatch.setattr(kernels, "block", trial._plain)
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert trial.find_failure(CPU, dtype) == ""
    assert torch.equal(before, torch.get_rng_state())


def without_shift(x, dw_w, dw_b, ln_w, ln_b, eps, w1, b1, w2, b2, gamma):
    return trial._plain(x, dw_w, dw_b, ln_w, 0 * ln_b, eps, w1, b1, w2, b2, gamma)


def nan_everywhere(*values):
    return trial._plain(*values) * float("nan")


@pytest.mark.parametrize("wrong", [without_shift, nan_everywhere])
def test_wrong_kernels_do_not(wrong, monkeypatch):
    monkeypatch.setattr(kernels, "block", wrong)
    assert trial.find_failure(CPU, torch.bfloat16).startswith(
        "The Triton kernels are wrong on this GPU"
    )


def test_kernels_that_do_not_compile_give_one_warning_and_are_not_used(monkeypatch):
    def broken(*_):
        raise RuntimeError("out of resource:\nshared memory")

    monkeypatch.setattr(kernels, "block", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(
        availability, "find_failure", lambda device, dtype: trial.find_failure(CPU, dtype)
    )
    monkeypatch.setattr(availability, "_reasons", {})
    monkeypatch.setenv("CONVNEXT_DENSE_KERNELS", "1")
    with pytest.warns(UserWarning, match="do not run on this GPU .*out of resource: shared mem"):
        assert not kernels.usable("cuda", 0, torch.bfloat16)
    assert not kernels.usable("cuda", 0, torch.bfloat16)


def test_an_empty_batch_is_tried(monkeypatch):
    """Stochastic depth that keeps no sample runs the branch on an empty batch."""

    def broken(x, *others):
        if len(x) == 0:
            raise IndexError("index 0 is out of bounds")
        return trial._plain(x, *others)

    monkeypatch.setattr(kernels, "block", broken)
    assert "IndexError: index 0 is out of bounds" in trial.find_failure(CPU, torch.float32)


@pytest.mark.parametrize("rate", [0.0, 0.6])
@pytest.mark.parametrize("gamma", [0.5, 0.0])
def test_a_block_uses_the_kernels_where_they_are_usable(rate, gamma, monkeypatch):
    calls = []

    def fused(x, dw_w, dw_b, ln_w, ln_b, eps, w1, b1, w2, b2, gamma):
        calls.append(len(x))
        gamma = torch.ones_like(b2) if gamma is None else gamma
        return trial._plain(x, dw_w, dw_b, ln_w, ln_b, eps, w1, b1, w2, b2, gamma)

    monkeypatch.setattr(kernels, "block", fused)
    block = Block(trial.C, drop_path=rate, layer_scale_init_value=gamma).train()
    x = torch.randn(6, trial.C, 5, 6)
    found = []
    for usable in (True, False):
        monkeypatch.setattr(kernels, "usable", lambda *_, answer=usable: answer)
        torch.manual_seed(3)
        y = block(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(block.parameters()))])
    assert len(calls) == 1 and (calls[0] < 6) == (rate > 0)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
