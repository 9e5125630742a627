"""--compile: blocks are compiled in place, with the numbers of the others."""

import shutil

import pytest
import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.config.machine import use_fused_optimizer
from convnext_dense.engine.compiling import compile_blocks
from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt

OPERATORS = ("dwconv_norm", "mlp")
SMALL = dict(depths=(1, 1, 1, 1), dims=(8, 12, 16, 20))


@pytest.mark.slow
def test_blocks_are_compiled_in_place():
    torch.manual_seed(0)
    model = ConvNeXt(SMALL, drop_path_rate=0.5, layer_scale_init_value=0.5).train().double()
    names, found = list(model.state_dict()), []
    for compiled in (False, True):
        if compiled:
            torch._dynamo.reset()
            assert compile_blocks(model, backend="aot_eager") == 4
        for size in ((64, 64), (64, 96), (96, 128)):
            torch.manual_seed(1)
            maps = model(torch.randn(2, 3, *size).double())
            sum(y.square().sum() for y in maps).backward()
        found.append([p.grad.clone() for p in model.parameters()])
        model.zero_grad()
    assert list(model.state_dict()) == names
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_compiled_blocks_hold_the_fused_kernels(fused_path):
    """Also where stochastic depth is on, and for sizes that vary."""
    torch._dynamo.reset()
    model, found = ConvNeXt(SMALL, drop_path_rate=0.5, out_indices=(0, 1)).train(), []

    def backend(graph, _inputs):
        targets = {str(node.target) for node in graph.graph.nodes}
        found.append({name for name in targets if name.startswith("convnext_dense.")})
        return graph.forward

    compile_blocks(model, backend=backend)
    for size in ((32, 32), (32, 64)):
        model(torch.randn(1, 3, *size))
    assert len(found) >= 4
    assert all(one == {f"convnext_dense.{op}.default" for op in OPERATORS} for one in found)


class Padding(nn.Module):
    """What a detector's preprocessor does with sizes."""

    pad_size_divisor = 32

    def forward(self, size: tuple[int, int], training: bool = False) -> torch.Tensor:
        height, width = (-(-side // self.pad_size_divisor) * self.pad_size_divisor for side in size)
        return torch.randn(1, 3, height, width)


def test_buckets_have_graphs_of_their_own_in_training():
    model, graphs = nn.Module(), []
    model.backbone = ConvNeXt(SMALL, out_indices=(0,))
    model.data_preprocessor = Padding()

    def backend(graph, inputs):
        maps = (x for x in inputs if isinstance(x, torch.Tensor) and x.dim() == 4)
        graphs.append(tuple(next(maps).shape[2:]))
        return graph.forward

    def compiled(sizes: list[tuple[int, int]], training: bool) -> list:
        graphs.clear()
        model.train(training)
        for size in sizes:
            model.backbone(model.data_preprocessor(size, training))
        return list(graphs)

    torch._dynamo.reset()
    assert compile_blocks(model, buckets=64, backend=backend) == 1
    pictures = [(60, 60), (64, 33), (65, 60), (100, 128), (128, 90), (60, 60), (160, 190)]
    sizes = [(16, 16), (32, 16), (32, 32), (48, 48)]  # strides of 4
    assert compiled(pictures, True) == sizes
    with torch.no_grad():
        assert len(compiled(pictures, False)) <= 2  # for any size, at the latest from the second on
        assert model.data_preprocessor((60, 33), False).shape[2:] == (64, 64)
        assert model.data_preprocessor((60, 65), False).shape[2:] == (64, 96)  # not 128


@pytest.mark.parametrize(("pixels", "said"), [(16, "multiple of 32"), (80, "multiple of 32")])
def test_buckets_that_cannot_be(pixels, said):
    model = nn.Module()
    model.backbone = ConvNeXt(SMALL)
    with pytest.raises(UserError, match="--shape-buckets is for detectors"):
        compile_blocks(model, pixels, backend="eager")
    model.data_preprocessor = Padding()
    with pytest.raises(UserError, match=said):
        compile_blocks(model, pixels, backend="eager")


def test_what_cannot_be_compiled_is_a_sentence(monkeypatch):
    with pytest.raises(UserError, match="the model has none"):
        compile_blocks(nn.Linear(2, 2))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs a C.. compiler"):
        compile_blocks(ConvNeXt(SMALL))


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (dict(type="AdamW", lr=1e-3), True),
        (dict(type="SGD", lr=1e-3), True),
        (dict(type="AdamW", lr=1e-3, fused=False), False),
        (dict(type="AdamW", lr=1e-3, foreach=True), None),
        (dict(type="LBFGS", lr=1e-3), None),
    ],
)
def test_optimizers_that_can_be_are_fused(optimizer, fused):
    cfg = Config(dict(optim_wrapper=dict(optimizer=optimizer)))
    use_fused_optimizer(cfg)
    assert cfg.optim_wrapper.optimizer.get("fused") is fused


def test_a_fused_step_is_the_plain_one():
    found = []
    for fused in (False, True):
        weight = torch.arange(6.0).reshape(2, 3).requires_grad_()
        optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.05, fused=fused)
        for step in range(5):
            weight.grad = torch.sin(weight.detach() + step)
            optimizer.step()
        found.append(weight.detach())
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)
