"""The kernels on a GPU; skipped with the reason where there is none."""

import pytest
import torch

from convnext_dense import kernels
from tests.kernels import plain

pytestmark = pytest.mark.gpu

SHAPES = [(2, 96, 56, 56), (1, 40, 5, 9), (2, 768, 7, 7), (1, 384, 25, 42), (1, 2048, 3, 5)]


def _drawn(shape, dtype, wide=False):
    torch.manual_seed(0)
    x = torch.randn(shape, device="cuda").to(dtype).to(memory_format=torch.channels_last)
    p = [v.detach().to(dtype) for v in plain.parameters(shape[1], device="cuda")]
    return [v.double() if wide else v for v in (x, *p)]


def _results(function, values):
    values = [v.detach().requires_grad_() for v in values]
    return plain.results(lambda: function(*values), values)


def _ours(fused=None):
    return lambda x, *p: kernels.block(x, *p[:4], plain.EPS, *p[4:], fused, fused)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32(shape, fused, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    values = _drawn(shape, torch.float32)
    exact = _results(plain.block, _drawn(shape, torch.float32, wide=True))
    assert max(plain.distances(_results(_ours(fused), values), exact)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_an_empty_batch(dtype, fused):
    """Stochastic depth that keeps no sample makes one."""
    values = _drawn((0, 96, 7, 7), dtype)
    for found, value in zip(_results(_ours(fused), values)[1:], values, strict=True):
        assert found.shape == value.shape and not found.any()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bfloat16_is_no_further_from_float64(shape, fused):
    values = _drawn(shape, torch.bfloat16)
    exact = _results(plain.block, _drawn(shape, torch.bfloat16, wide=True))
    errors = [
        [(a.double() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
        for found in (_results(_ours(fused), values), _results(plain.block, values))
    ]
    # A margin of a tenth: both round, at different places.
    assert all(ours <= 1.1 * theirs for ours, theirs in zip(*errors, strict=True)), errors


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_two_runs_agree_in_every_bit(shape):
    values = _drawn(shape, torch.bfloat16)
    runs = [_results(_ours(), values) for _ in range(3)]
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


def test_compiled_without_graph_breaks():
    values = _drawn(SHAPES[0], torch.bfloat16)
    graph = torch.compile(_ours(), fullgraph=True)
    far = plain.distances(_results(graph, values), _results(_ours(), values))
    assert max(far) < 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("stream", [torch.float32, None], ids=str)
def test_autocast(dtype, stream):
    x, *p = _drawn(SHAPES[0], torch.float32)
    x = x.to(stream or dtype)
    with torch.autocast("cuda", dtype):
        found = _results(_ours(), [x, *p])
    assert found[0].dtype == x.dtype and {g.dtype for g in found[2:]} == {torch.float32}
    exact = _results(plain.block, [v.double() for v in (x, *p)])
    assert max(plain.distances(found, exact)) < 0.03
