"""Ways of running blocks: compiled, exported, captured, copied, in a process group.

Where custom operators are not supported, the plain path must be taken: the graph shows the path.
"""

import io
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from convnext_dense.models import Block

from .blocks import check_drop_path, exact_results, gradients, timm_block
from .cases import BF16, FLOAT, TOLERANCES, WIDTH, Case, new_block, new_input, require, setting
from .check import Check, NotRun, Results, compare, expect_fused_path, only_on_gpu

TOLERANCE = TOLERANCES[FLOAT]
PLAIN_TOLERANCE = 10 * TOLERANCE  # for torch's own operators: cuDNN chooses among convolutions
# Our operators as written in the graphs of torch.jit and torch.export.
OPERATORS = ("convnext_dense::", "ops.convnext_dense.")
# On a CPU inductor needs a C++ compiler; the graphs are the same.
BACKEND = {"cpu": "aot_eager", "cuda": "inductor"}


def block_and_input(device: str) -> tuple[Block, Tensor]:
    """A small block in training mode and an input for it, where the kernels run."""
    require(device)
    return new_block(WIDTH[device]).to(device), new_input(Case(), device)


def check_compiled(case: Case, device: str) -> None:
    """torch.compile: one graph, which contains the kernels."""
    require(device, case.autocast or case.dtype)
    torch.compiler.reset()
    block, x = new_block(WIDTH[device]).to(device).train(case.train), new_input(case, device)
    compiled = torch.compile(block, backend=BACKEND[device], fullgraph=True)
    with setting(case, device), torch.set_grad_enabled(case.train):
        compiled(x)
        with expect_fused_path():
            y = compiled(x)
        actual = gradients(block, x, y) if case.train else {"output": y}
    exact = exact_results(block, x)
    compare(actual, {name: exact[name] for name in actual}, case.tolerance)


def check_compiled_drop_path(device: str) -> None:
    """Compiled training with stochastic depth: by the kernels, and whole samples are dropped."""
    torch.compiler.reset()
    make = partial(torch.compile, backend=BACKEND[device], fullgraph=True)
    check_drop_path(0.5, "some", device, make)


def check_left_to_torch(graph_of: Callable[[nn.Module, Tensor], tuple], device: str) -> None:
    """A graph for other programs: it contains no operator of ours, and is the same function."""
    block, x = block_and_input(device)
    block.eval()
    x = x.detach()
    with setting(Case(), device), torch.no_grad():
        run, text = graph_of(block, x)
        y = run(x)
    ours = [name for name in OPERATORS if name in text]
    assert not ours, f"The graph contains {' and '.join(ours)}, which other programs do not have."
    compare({"output": y}, {"output": exact_results(block, x)["output"]}, PLAIN_TOLERANCE)


def exported(block: nn.Module, x: Tensor) -> tuple:
    """torch.export's graph."""
    program = torch.export.export(block, (x,))
    return program.module(), str(program.graph)


def traced(block: nn.Module, x: Tensor) -> tuple:
    """torch.jit.trace's graph."""
    graph = torch.jit.trace(block, x, check_trace=False)
    return graph, str(graph.inlined_graph)


def symbolic(block: nn.Module, x: Tensor) -> tuple:
    """torch.fx's graph."""
    graph = torch.fx.symbolic_trace(block)
    return graph, str(graph.graph)


def check_second_derivatives(device: str) -> None:
    """The gradient of a gradient penalty."""
    block, x = block_and_input(device)
    twin, wide = timm_block(block), x.detach().cpu().double().requires_grad_()
    results = []
    for module, leaf in ((block, x), (twin, wide)):
        with setting(Case(), device):
            y = module(leaf)
            (slope,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
            penalty = slope.square().sum()
            targets = {"input": leaf, "gain": module.norm.weight, "gamma": module.gamma}
            slopes = torch.autograd.grad(penalty, list(targets.values()))
        results.append(dict(zip(targets, slopes, strict=True)))
    compare(*results, PLAIN_TOLERANCE)


def check_transforms(device: str) -> None:
    """torch.func: gradients of each sample, and forward-mode differentiation."""
    block, x = block_and_input(device)
    block.eval()
    x, twin = x.detach(), timm_block(block)
    tangent = torch.roll(x, 1, 0)
    results = []
    for one, *two in ((block, x, tangent), (twin, *(t.cpu().double() for t in (x, tangent)))):
        loss = lambda sample, one=one: one(sample[None]).square().sum()  # noqa: E731
        with setting(Case(), device):
            per_sample = torch.func.vmap(torch.func.grad(loss))(two[0])
            forward = torch.func.jvp(one, (two[0],), (two[1],))[1]
        results.append({"gradient of each sample": per_sample, "forward derivative": forward})
    compare(*results, PLAIN_TOLERANCE)


def check_hooks(device: str) -> None:
    """A layer with a hook is called; the hook's change has an effect."""
    block, x = block_and_input(device)
    seen = []
    handle = block.pwconv1.register_forward_hook(lambda *call: seen.append(1) or 2 * call[2])
    with setting(Case(), device), expect_fused_path(taken=False):
        y = block(x)
    handle.remove()
    assert len(seen) == 1, f"The hook was called {len(seen)} times."
    with torch.no_grad():
        for parameter in block.pwconv1.parameters():
            parameter.mul_(2)
    compare({"output": y}, {"output": exact_results(block, x)["output"]}, PLAIN_TOLERANCE)
    with setting(Case(), device), expect_fused_path():
        block(x)


def check_deepcopy(device: str) -> None:
    """Copies, in memory and through a file, compute the same with their own weights."""
    block, x = block_and_input(device)
    with setting(Case(), device):
        gradients(block, x, block(x))
        file = io.BytesIO()
        torch.save(block, file)
        file.seek(0)
        for copy in (deepcopy(block), torch.load(file, weights_only=False)):
            exact = exact_results(block, x)
            with expect_fused_path():
                y = copy(x)
            compare(gradients(copy, x, y), exact, TOLERANCE)
            with torch.no_grad():
                copy.gamma.zero_()
            assert block.gamma.all(), "The copy shares its weights with the original."


def check_graph_capture(device: str) -> None:
    """A CUDA graph of an evaluation, replayed with another input."""
    only_on_gpu(device, "CUDA graphs need a GPU.")
    case = Case(autocast=BF16, train=False)
    block, x = block_and_input(device)
    block.eval()
    static, side = x.detach().clone(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with setting(case, device), torch.no_grad():
        with torch.cuda.stream(side), expect_fused_path():
            block(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = block(static)
        static.copy_(x.detach().flip(0))
        graph.replay()
    exact = exact_results(block, x.detach().flip(0))
    compare({"output": y}, {"output": exact["output"]}, case.tolerance)


def check_stream(device: str) -> None:
    """On a stream that is not the default one, after work that takes long."""
    only_on_gpu(device, "Streams need a GPU.")
    block, x = block_and_input(device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with setting(Case(), device), torch.cuda.stream(stream):
        late = torch.empty_like(x)
        torch.cuda._sleep(50_000_000)
        late.copy_(x.detach())
        late.requires_grad_()
        actual = gradients(block, late, block(late))
    stream.synchronize()
    compare(actual, exact_results(block, x), TOLERANCE)


def check_second_device(device: str) -> None:
    """On a device that is not the current one."""
    only_on_gpu(device, "A second device needs a GPU.")
    if torch.cuda.device_count() < 2:
        raise NotRun("There is only one device.")
    require("cuda:1")
    block, x = new_block(WIDTH[device]).to("cuda:1"), new_input(Case(), device)
    x = x.detach().to("cuda:1").requires_grad_()
    with setting(Case(), device), expect_fused_path():
        y = block(x)
    compare(gradients(block, x, y), exact_results(block, x), TOLERANCE)


def check_ddp(device: str) -> None:
    """DistributedDataParallel of one process: gradients pass through its buckets."""
    block, x = block_and_input(device)
    backend = "nccl" if device == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        dist.init_process_group(backend, init_method=store, rank=0, world_size=1)
        try:
            parallel = DistributedDataParallel(block)
            with setting(Case(), device):
                with expect_fused_path():
                    y = parallel(x)
                draw = torch.Generator().manual_seed(2)
                y.backward(torch.randn(y.shape, generator=draw).to(y))
        finally:
            dist.destroy_process_group()
    grads = {f"gradient of {name}": p.grad for name, p in block.named_parameters()}
    actual: Results = {"output": y, "gradient of input": x.grad} | grads
    compare(actual, exact_results(block, x), TOLERANCE)


CHECKS = (
    Check("ways/compiled-eval", partial(check_compiled, Case(train=False))),
    Check("ways/compiled-train", partial(check_compiled, Case())),
    Check("ways/compiled-train-bf16", partial(check_compiled, Case(autocast=BF16))),
    Check("ways/compiled-drop-path", check_compiled_drop_path),
    *(
        Check(f"ways/{graph.__name__}", partial(check_left_to_torch, graph), cheap=graph is traced)
        for graph in (exported, traced, symbolic)
    ),
    Check("ways/second-derivatives", check_second_derivatives),
    Check("ways/transforms", check_transforms),
    Check("ways/hooks", check_hooks, cheap=True),
    Check("ways/deepcopy", check_deepcopy),
    Check("ways/cuda-graph", check_graph_capture),
    Check("ways/other-stream", check_stream),
    Check("ways/second-device", check_second_device),
    Check("ways/ddp", check_ddp),
)
