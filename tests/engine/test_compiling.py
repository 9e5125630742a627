"""--compile: blocks are compiled in place, with the numbers of the others."""

import shutil

import pytest
import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.engine.compiling import compile_blocks
from convnext_dense.engine.training import use_fused_optimizer
from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt

SMALL = dict(depths=(1, 1, 1, 1), dims=(8, 12, 16, 20))


def test_blocks_are_compiled_in_place():
    torch.manual_seed(0)
    model = ConvNeXt(SMALL, drop_path_rate=0.5, layer_scale_init_value=0.5).train()
    names, found = list(model.state_dict()), []
    for compiled in (False, True):
        if compiled:
            torch._dynamo.reset()
            assert compile_blocks(model, backend="aot_eager") == 4
        for size in ((64, 64), (64, 96), (96, 128)):
            torch.manual_seed(1)
            maps = model(torch.randn(2, 3, *size))
            sum(y.square().sum() for y in maps).backward()
        found.append([p.grad.clone() for p in model.parameters()])
        model.zero_grad()
    assert list(model.state_dict()) == names
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3 * float(one.abs().max()))


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
