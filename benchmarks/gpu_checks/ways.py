"""Ways of running blocks: compiled, exported, captured, copied, in a process group.

Where a way cannot look into the kernels, the plain path must be taken: the graph says which it was.
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

from .blocks import check_drop_path, exact_results, gradients, timms
from .cases import BANDS, BF16, FLOAT, WIDTH, Case, new_block, new_map, require, setting
from .check import Check, NotRun, Results, compare, fused, only_on_gpu

BAND = BANDS[FLOAT]
PLAIN_BAND = 10 * BAND  # of torch's own operations, among whose convolutions cuDNN chooses
# As torch.jit's and torch.export's graphs write an operator of ours.
OPERATORS = ("convnext_dense::", "ops.convnext_dense.")
# Without a C++ compiler a CPU has no inductor; the graphs are the same.
BACKEND = {"cpu": "aot_eager", "cuda": "inductor"}


def block_and_map(device: str) -> tuple[Block, Tensor]:
    """A small block in training mode and a map for it, where the kernels run."""
    require(device)
    return new_block(WIDTH[device]).to(device), new_map(Case(), device)


def check_compiled(case: Case, device: str) -> None:
    """torch.compile, one graph: the kernels are in it."""
    require(device, case.autocast or case.dtype)
    torch.compiler.reset()
    block, x = new_block(WIDTH[device]).to(device).train(case.train), new_map(case, device)
    compiled = torch.compile(block, backend=BACKEND[device], fullgraph=True)
    with setting(case, device), torch.set_grad_enabled(case.train):
        compiled(x)
        with fused():
            y = compiled(x)
        found = gradients(block, x, y) if case.train else {"output": y}
    exact = exact_results(block, x)
    compare(found, {name: exact[name] for name in found}, case.band)


def check_compiled_drop_path(device: str) -> None:
    """Training with stochastic depth, compiled: by the kernels, and samples are dropped whole."""
    torch.compiler.reset()
    make = partial(torch.compile, backend=BACKEND[device], fullgraph=True)
    check_drop_path(0.5, "some", device, make)


def check_left_to_torch(graph_of: Callable[[nn.Module, Tensor], tuple], device: str) -> None:
    """A graph for other programs: no operator of ours in it, and the same function."""
    block, x = block_and_map(device)
    block.eval()
    x = x.detach()
    with setting(Case(), device), torch.no_grad():
        run, text = graph_of(block, x)
        y = run(x)
    ours = [name for name in OPERATORS if name in text]
    assert not ours, f"The graph has {' and '.join(ours)}, which other programs do not know."
    compare({"output": y}, {"output": exact_results(block, x)["output"]}, PLAIN_BAND)


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
    block, x = block_and_map(device)
    twin, wide = timms(block), x.detach().cpu().double().requires_grad_()
    found = []
    for one, leaf in ((block, x), (twin, wide)):
        with setting(Case(), device):
            y = one(leaf)
            (slope,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
            penalty = slope.square().sum()
            wanted = {"map": leaf, "gain": one.norm.weight, "gamma": one.gamma}
            slopes = torch.autograd.grad(penalty, list(wanted.values()))
        found.append(dict(zip(wanted, slopes, strict=True)))
    compare(*found, PLAIN_BAND)


def check_transforms(device: str) -> None:
    """torch.func: gradients of each sample, and forward-mode differentiation."""
    block, x = block_and_map(device)
    block.eval()
    x, twin = x.detach(), timms(block)
    tangent = torch.roll(x, 1, 0)
    found = []
    for one, *two in ((block, x, tangent), (twin, *(t.cpu().double() for t in (x, tangent)))):
        loss = lambda sample, one=one: one(sample[None]).square().sum()  # noqa: E731
        with setting(Case(), device):
            per_sample = torch.func.vmap(torch.func.grad(loss))(two[0])
            forward = torch.func.jvp(one, (two[0],), (two[1],))[1]
        found.append({"gradient of each sample": per_sample, "forward derivative": forward})
    compare(*found, PLAIN_BAND)


def check_hooks(device: str) -> None:
    """A layer with a hook is called; the hook's change counts."""
    block, x = block_and_map(device)
    seen = []
    handle = block.pwconv1.register_forward_hook(lambda *call: seen.append(1) or 2 * call[2])
    with setting(Case(), device), fused(taken=False):
        y = block(x)
    handle.remove()
    assert len(seen) == 1, f"The hook was called {len(seen)} times."
    with torch.no_grad():
        for parameter in block.pwconv1.parameters():
            parameter.mul_(2)
    compare({"output": y}, {"output": exact_results(block, x)["output"]}, PLAIN_BAND)
    with setting(Case(), device), fused():
        block(x)


def check_deepcopy(device: str) -> None:
    """Copies, in memory and through a file, compute the same with weights of their own."""
    block, x = block_and_map(device)
    with setting(Case(), device):
        gradients(block, x, block(x))
        file = io.BytesIO()
        torch.save(block, file)
        file.seek(0)
        for copy in (deepcopy(block), torch.load(file, weights_only=False)):
            exact = exact_results(block, x)
            with fused():
                y = copy(x)
            compare(gradients(copy, x, y), exact, BAND)
            with torch.no_grad():
                copy.gamma.zero_()
            assert block.gamma.all(), "The copy shares its weights with the original."


def check_graph_capture(device: str) -> None:
    """A CUDA graph of an evaluation, replayed with another map."""
    only_on_gpu(device, "CUDA graphs need a GPU.")
    case = Case(autocast=BF16, train=False)
    block, x = block_and_map(device)
    block.eval()
    static, side = x.detach().clone(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with setting(case, device), torch.no_grad():
        with torch.cuda.stream(side), fused():
            block(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = block(static)
        static.copy_(x.detach().flip(0))
        graph.replay()
    exact = exact_results(block, x.detach().flip(0))
    compare({"output": y}, {"output": exact["output"]}, case.band)


def check_stream(device: str) -> None:
    """On a stream that is not the default one, behind work that takes its time."""
    only_on_gpu(device, "Streams need a GPU.")
    block, x = block_and_map(device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with setting(Case(), device), torch.cuda.stream(stream):
        late = torch.empty_like(x)
        torch.cuda._sleep(50_000_000)
        late.copy_(x.detach())
        late.requires_grad_()
        found = gradients(block, late, block(late))
    stream.synchronize()
    compare(found, exact_results(block, x), BAND)


def check_second_device(device: str) -> None:
    """On a device that is not the current one."""
    only_on_gpu(device, "A second device needs a GPU.")
    if torch.cuda.device_count() < 2:
        raise NotRun("There is one device.")
    require("cuda:1")
    block, x = new_block(WIDTH[device]).to("cuda:1"), new_map(Case(), device)
    x = x.detach().to("cuda:1").requires_grad_()
    with setting(Case(), device), fused():
        y = block(x)
    compare(gradients(block, x, y), exact_results(block, x), BAND)


def check_ddp(device: str) -> None:
    """DistributedDataParallel of one process: gradients come through its buckets."""
    block, x = block_and_map(device)
    backend = "nccl" if device == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        place = (Path(folder) / "store").as_uri()
        dist.init_process_group(backend, init_method=place, rank=0, world_size=1)
        try:
            parallel = DistributedDataParallel(block)
            with setting(Case(), device):
                with fused():
                    y = parallel(x)
                draw = torch.Generator().manual_seed(2)
                y.backward(torch.randn(y.shape, generator=draw).to(y))
        finally:
            dist.destroy_process_group()
    grads = {f"gradient of {name}": p.grad for name, p in block.named_parameters()}
    found: Results = {"output": y, "gradient of map": x.grad} | grads
    compare(found, exact_results(block, x), BAND)


CHECKS = (
    Check("ways/compiled-eval", partial(check_compiled, Case(train=False))),
    Check("ways/compiled-train", partial(check_compiled, Case())),
    Check("ways/compiled-train-bf16", partial(check_compiled, Case(autocast=BF16))),
    Check("ways/compiled-drop-path", check_compiled_drop_path),
    *(
        Check(f"ways/{graph.__name__}", partial(check_left_to_torch, graph), graph is traced)
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
