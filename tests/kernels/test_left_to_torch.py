"""Blocks that the fused path leaves to torch: traced, changed, or with a misfitting input."""

import io

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from convnext_dense import kernels
from convnext_dense.models import Block
from tests.kernels import plain
from tests.kernels.test_paths import X, channels_last, operators
from tests.models.test_fast import assert_close, both, new_block


def _by_export(block, x, strict):
    graph = torch.export.export(block, (x,), strict=strict).module()
    assert not operators(graph)
    return graph(x)


def _by_trace(block, x):
    traced, file = torch.jit.trace(block, x, check_trace=False), io.BytesIO()
    assert "convnext_dense::" not in str(traced.inlined_graph)
    torch.jit.save(traced, file)
    file.seek(0)
    return torch.jit.load(file)(x)


def _by_make_fx(block, x):
    graph = make_fx(block)(x)
    assert not operators(graph)
    return graph(x)


def _by_symbolic_trace(block, x):
    return torch.fx.symbolic_trace(block)(x)


def _under_a_counter(block, x):
    with FlopCounterMode(display=False) as counter:
        y = block(x)
    pixels = x.numel() // 8
    assert counter.get_total_flops() == 2 * pixels * (49 * 8 + 2 * 4 * 8 * 8)
    return y


GRAPHS_AND_COUNTERS = {
    "export": lambda *a: _by_export(*a, strict=False),
    "strict export": lambda *a: _by_export(*a, strict=True),
    "trace": _by_trace,
    "make_fx": _by_make_fx,
    "symbolic_trace": _by_symbolic_trace,
    "counter": _under_a_counter,
}


@pytest.mark.parametrize("how", GRAPHS_AND_COUNTERS)
def test_what_is_looked_into_takes_the_plain_path(fused_path, how):
    """Exported files and counters know torch's operators only; on every device."""
    block, x = new_block(drop_path=0.5).eval(), channels_last(*X)
    exact, _ = both(block, x)
    with torch.no_grad():
        assert_close(exact[:1], [GRAPHS_AND_COUNTERS[how](block, x)])
    assert len(fused_path) == 1  # by `both`


def test_a_first_call_with_fakes(monkeypatch):
    """The kernels are not tried: a trial reads values, and fake tensors have none."""
    monkeypatch.setattr(kernels, "usable", lambda *_: pytest.fail("asked"))
    with FakeTensorMode():
        block, x = Block(8), torch.empty(X)
        assert block(x).shape == X
    assert block(x).shape == X  # outside the mode, with the same fake tensors


def test_hooks_and_changed_layers(fused_path):
    """Layers with hooks and changed layers are called; hooks of the block change nothing."""
    block, seen = new_block(), []
    handle = block.pwconv1.register_forward_hook(lambda *_: seen.append("layer"))
    block(channels_last(*X))
    handle.remove()
    assert (seen, fused_path) == (["layer"], [])
    block.register_forward_hook(lambda *_: seen.append("block"))
    block(channels_last(*X))
    assert (seen, fused_path) == (["layer", "block"], [2])
    block.dwconv = nn.Conv2d(8, 8, 5, padding=2, groups=8)  # the kernels have 7 x 7 filters
    block(channels_last(*X))
    assert fused_path == [2]


def test_a_misfitting_input_raises_as_on_the_plain_path(fused_path):
    """The kernels do not check sizes, and would read beyond a smaller feature map."""
    block = new_block()
    for x in (torch.zeros(1, 4, 3, 3), torch.zeros(8, 3, 3), torch.zeros(1, 8, 3, 3).double()):
        with pytest.raises(RuntimeError):
            block(x)
    assert fused_path == []
    p = plain.parameters(8)
    with pytest.raises(ValueError, match=r"got \(1, 4, 3, 3\) and \(8, 1, 7, 7\)"):
        kernels.dwconv_norm(torch.zeros(1, 4, 3, 3), *p[:4], plain.EPS)
    with pytest.raises(ValueError, match="are needed, got"):
        kernels.mlp(torch.zeros(1, 3, 3, 4), torch.zeros(1, 3, 3, 4), *p[4:])


def test_weights_with_operations_of_their_own(fused_path):
    """Quantised and distributed weights are subclasses of a tensor."""

    class Quantised(torch.Tensor):
        pass

    block = new_block()
    block.pwconv1.weight = nn.Parameter(block.pwconv1.weight.detach().as_subclass(Quantised))
    block(channels_last(*X))
    assert fused_path == []


def test_second_derivatives(fused_path):
    """By autograd, from torch's own operators."""
    block, x = new_block(), channels_last(1, 8, 2, 2)
    found = []
    for block.fast, kind in ((False, torch.float64), (True, torch.float32)):
        block.to(kind)
        leaf = x.to(kind).requires_grad_()
        y = block(leaf).square().sum()
        slopes = torch.autograd.grad(y, [leaf, *block.parameters()], create_graph=True)
        penalty = y + sum(slope.square().sum() for slope in slopes)
        found.append(torch.autograd.grad(penalty, [leaf, *block.parameters()]))
    assert_close(*found, band=1e-4)
    assert fused_path == [1]


def test_transforms_of_functions(fused_path):
    block, x = new_block().eval(), channels_last(*X)
    per_sample = torch.vmap(torch.func.grad(lambda one: block(one[None]).square().sum()))
    found = []
    for block.fast in (False, True):
        found.append([per_sample(x), torch.func.jvp(block, (x,), (x,))[1]])
    assert_close(*found)
    assert fused_path == []
