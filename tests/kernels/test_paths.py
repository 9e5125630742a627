"""The fused path in each situation of a block: the table of docs/kernels.md."""

import copy
import pickle

import pytest
import torch
from torch import nn

from convnext_dense import kernels
from convnext_dense.models.staged_network import run_blocks
from tests.kernels import plain
from tests.models.test_fast import assert_close, both, kept_bytes, new_block

X = (2, 8, 3, 2)


def channels_last(*shape: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def operators(graph: torch.fx.GraphModule) -> set[str]:
    """Names of our operators in a graph."""
    return {str(node.target) for node in graph.graph.nodes if "convnext_dense" in str(node.target)}


def test_training(fused_path):
    assert_close(*both(new_block(), channels_last(*X)))
    assert fused_path == [2]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_keeps_nothing(fused_path, mode):
    block, x = new_block().eval(), channels_last(*X)
    exact, _ = both(block, x)
    with mode():
        assert kept_bytes(block, x) == 0
        assert_close(exact[:1], [block(x)])
    assert len(fused_path) == 3


@pytest.mark.parametrize("frozen", ["dwconv", "norm", "pwconv1", "pwconv2", "gamma", "all"])
def test_frozen_parts(fused_path, frozen):
    block = new_block()
    for name, parameter in block.named_parameters():
        parameter.requires_grad_(frozen != "all" and not name.startswith(frozen))
    assert_close(*both(block, channels_last(*X)))
    assert fused_path == [2]


def test_only_the_residual_needs_a_gradient(fused_path):
    """The first trained block after frozen ones, whose input needs none, and the opposite."""
    block, x = new_block(), channels_last(*X)
    block(x).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    for parameter in block.parameters():
        parameter.requires_grad_(False)
    assert not block(x).requires_grad


@pytest.mark.parametrize(
    ("rate", "seed", "kept"), [(1.0, 0, 0), (0.5, 0, 0), (0.5, 1, 1), (0.5, 2, 2)]
)
def test_stochastic_depth(fused_path, rate, seed, kept):
    """None, some and all of the samples are kept; seed 5 of `both` is replaced by the case's."""
    block, found = new_block(drop_path=rate).train(), []
    x = channels_last(*X)
    for fast, kind in ((False, torch.float64), (True, torch.float32)):
        block.to(kind).fast = fast
        leaf = x.to(kind).requires_grad_()
        torch.manual_seed(SEEDS[rate, kept] if rate < 1 else seed)
        y = block(leaf)
        found.append([y, *torch.autograd.grad(y.square().sum(), [leaf, *block.parameters()])])
    assert fused_path == [kept]
    assert_close(*found)
    assert kept or all(not gradient.any() for gradient in found[1][2:])


def _seeds() -> dict[tuple[float, int], int]:
    """A seed for each number of samples, out of two, that a drop path rate of 0.5 keeps."""
    seeds = {}
    for seed in range(100):
        torch.manual_seed(seed)
        seeds.setdefault((0.5, int(torch.empty(2, 1, 1, 1).bernoulli_(0.5).sum())), seed)
    return seeds


SEEDS = _seeds()


@pytest.mark.parametrize("count", [0, 1])
def test_batches_of_none_and_one(fused_path, count):
    block, x = new_block(), channels_last(*X)[:count].requires_grad_()
    y = block(x)
    gradients = torch.autograd.grad(y.sum(), [x, *block.parameters()])
    assert y.shape == x.shape == gradients[0].shape and fused_path == [count]
    if count == 0:
        assert [g.shape for g in gradients[1:]] == [p.shape for p in block.parameters()]
        assert all(not g.any() for g in gradients)
    else:
        assert_close(*both(block, x))


def test_an_empty_batch_launches_nothing(fused_path, monkeypatch):
    """Not even for autotuning, which would choose a tile by noise."""
    from convnext_dense.kernels import depthwise, norm, partial_sums, products

    for module in (depthwise, norm, partial_sums, products):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            monkeypatch.setattr(module, name, None)  # cannot be launched
    p = plain.parameters(4)
    for fused in (True, False):
        x = torch.zeros(0, 4, 3, 3, requires_grad=True)
        y = kernels.block(x, *p[:4], plain.EPS, *p[4:], fused, fused)
        assert not any(g.any() for g in torch.autograd.grad(y.sum(), [x, *p]))


@pytest.mark.parametrize("recomputed", ["block", "gelu"])
def test_checkpointing(fused_path, recomputed):
    """The forward pass is repeated with the same samples kept, and saves the same."""
    gelu = recomputed == "gelu"
    block, x = new_block(drop_path=0.5, recompute_gelu=gelu).train(), channels_last(*X)
    assert_close(*both(block if gelu else Checkpointed(block), x))
    assert len(fused_path) == (1 if gelu else 2)


class Checkpointed(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run_blocks(self, x, with_cp=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("autocast", [True, False])
def test_16_bits(fused_path, dtype, autocast):
    """Errors to float64 are like those of the plain path, with a margin for chance."""
    errors = []
    for fast in (False, True):
        block, x = new_block(fast=fast), channels_last(*X)
        exact, _ = both(copy.deepcopy(block), x)
        block.fast = fast
        if not autocast:
            block, x = block.to(dtype), x.to(dtype)
        x.requires_grad_()
        with torch.autocast("cpu", dtype, enabled=autocast):
            y = block(x)
        assert y.dtype == (torch.float32 if autocast else dtype)
        draw = torch.Generator().manual_seed(1)
        grad = torch.randn(y.shape, generator=draw).to(y)
        found = [y, *torch.autograd.grad(y, [x, *block.parameters()], grad)]
        assert [g.dtype for g in found[1:]] == [v.dtype for v in (x, *block.parameters())]
        far = [(a.double() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
        errors.append(torch.stack(far))
    assert (errors[1] < 2 * errors[0] + 1e-3).all(), errors
    assert errors[1].max() < 0.05


def test_float16_gradients_overflow_no_earlier(fused_path):
    """Without the small gamma, the gradient of a scaled loss would overflow float16."""
    found = []
    for fast in (False, True):
        block = new_block(fast=fast)
        with torch.no_grad():
            block.gamma.fill_(1e-6)
        x = channels_last(*X).requires_grad_()
        with torch.autocast("cpu", torch.float16):
            y = block(x)
        draw = torch.Generator().manual_seed(1)
        grad = 1e3 * 65536 * torch.randn(y.shape, generator=draw)
        found.append(torch.autograd.grad(y, list(block.parameters()), grad))
    assert all(g.isfinite().all() for g in found[0])
    assert all(g.isfinite().all() for g in found[1])
    for plain_one, fused_one in zip(*found, strict=True):
        gap = (plain_one - fused_one).norm() / plain_one.norm()
        assert gap < 0.02


def test_torchs_new_setting_of_tf32(fused_path):
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    p, x = plain.parameters(4), channels_last(1, 4, 2, 1)
    try:
        y = kernels.block(x, *p[:4], plain.EPS, *p[4:], fuse_expand=True, fuse_project=True)
        with torch.autocast("cpu", torch.bfloat16):
            kernels.block(x, *p[:4], plain.EPS, *p[4:], fuse_expand=True, fuse_project=True)
    finally:
        matmul.fp32_precision = before
    assert_close([plain.block(x, *p).double()], [y])


def test_memory_formats(fused_path):
    block, x = new_block().eval(), channels_last(2, 8, 5, 3)
    for one in (x, x.contiguous(), torch.cat([x, x], 3)[..., ::2], x.flip(0).flip(0)):
        y = block(one)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert_close(both(block, one)[0][:1], [y])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)], ids=str)
def test_odd_sizes(fused_path, size):
    assert_close(*both(new_block(), channels_last(1, 8, *size)))
    assert fused_path == [1]


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("train", [True, False])
def test_compiled(fused_path, rate, train):
    """One graph that contains the operators, also with stochastic depth; the eager results."""
    torch._dynamo.reset()
    seen = []

    def backend(graph, _inputs):
        seen.append(operators(graph))
        return graph

    block, x = new_block(drop_path=rate).train(train), channels_last(4, 8, 2, 2)
    found = []
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    for fast, run in ((False, block), (True, compiled)):
        block.fast = fast
        torch.manual_seed(4)
        y = run(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(block.parameters()))])
    assert_close([g.double() for g in found[0]], found[1], band=1e-4)
    assert seen == [{"convnext_dense.dwconv_norm.default", "convnext_dense.mlp.default"}]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_training_step(fused_path, backend):
    """The backward operators too: inductor asserts the strides of the fake implementations."""
    torch._dynamo.reset()
    block, x = new_block(drop_path=0.5).train(), channels_last(4, 8, 2, 2).requires_grad_()
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    torch.manual_seed(4)
    gradients = torch.autograd.grad(compiled(x).square().sum(), [x, *block.parameters()])
    if backend == "aot_eager":  # inductor draws other random numbers
        block.fast = False
        torch.manual_seed(4)
        wanted = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
        assert_close([g.double() for g in wanted], gradients, band=1e-4)
    block.drop_path, block.fast = nn.Identity(), True
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    gradients = torch.autograd.grad(compiled(x).square().sum(), [x, *block.parameters()])
    block.fast = False
    wanted = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    assert_close([g.double() for g in wanted], gradients, band=1e-4)


@pytest.mark.parametrize("wrapper", ["DDP", "FSDP"])
def test_distributed(fused_path, wrapper):
    """One gloo process: wrappers, hooks and views of parameters as with many processes."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    block, x = new_block(), channels_last(*X)
    exact, _ = both(copy.deepcopy(block), x)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = DistributedDataParallel(block) if wrapper == "DDP" else fully_shard(block)
        y = model(x)
        draw = torch.Generator().manual_seed(1)
        y.backward(torch.randn(y.shape, generator=draw))
        grads = [p.grad for p in model.parameters()]
        grads = [g.full_tensor() if wrapper == "FSDP" else g for g in grads]
    finally:
        dist.destroy_process_group()
    assert_close([exact[0], *exact[2:]], [y, *grads])
    assert fused_path == [2, 2]


def test_copies(fused_path):
    """A copy computes the same, with its own parameters, also after the first has been used."""
    block, x = new_block(), channels_last(*X)
    y = block(x)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(other(x), y)
        with torch.no_grad():
            other.gamma.zero_()
        assert torch.equal(other(x), x) and torch.equal(block(x), y)
    assert len(fused_path) == 7


def test_launches_enter_the_tensors_device(fused_path, monkeypatch):
    """The test on a second GPU is in test_gpu.py."""
    entered, device_of = [], torch.cuda.device_of
    monkeypatch.setattr(torch.cuda, "device_of", lambda x: entered.append(x.shape) or device_of(x))
    x = channels_last(*X).requires_grad_()
    new_block()(x).sum().backward()
    assert len(entered) == 4 and (2, 3, 2, 8) in entered
