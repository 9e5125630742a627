"""--compile: blocks are compiled in place, with the numbers of the others."""

import shutil

import pytest
import torch
from torch import nn

from convnext_dense.engine.compiling import compile_blocks
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
