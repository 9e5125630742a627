"""The blocks' fast path: the plain path's results, with less saved for the backward pass."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.graph import saved_tensors_hooks

from convnext_dense.errors import UserError
from convnext_dense.models import Block, ConvNeXt
from convnext_dense.models.fast import cpu_path

SMALL = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 40))


def new_block(dim: int = 8, **options) -> Block:
    torch.manual_seed(0)
    block = Block(dim, layer_scale_init_value=0.5, **options)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block


def both(model: nn.Module, x: torch.Tensor, dtype=torch.float32) -> list[list[torch.Tensor]]:
    """Output, and gradients of the input and of all parameters: plain in float64, then fast."""
    results = []
    for fast, kind in ((False, torch.float64), (True, dtype)):
        model.to(kind)
        for module in model.modules():
            if isinstance(module, Block):
                module.fast = fast
        torch.manual_seed(5)
        leaf = x.detach().to(kind).requires_grad_()
        outputs = model(leaf)
        outputs = [outputs] if torch.is_tensor(outputs) else list(outputs)
        draw = torch.Generator().manual_seed(1)
        loss = sum((y * torch.randn(y.shape, generator=draw).to(y)).sum() for y in outputs)
        wanted = [leaf, *(p for p in model.parameters() if p.requires_grad)]
        results.append([*outputs, *torch.autograd.grad(loss, wanted)])
    return results


def assert_close(exact: list[torch.Tensor], found: list[torch.Tensor], band: float = 1e-5) -> None:
    for wanted, got in zip(exact, found, strict=True):
        scale = wanted.abs().max().clamp(min=1e-3)
        assert (got.double() - wanted).abs().max() / scale < band, (wanted.shape, scale)


@pytest.mark.parametrize(
    "shape",
    [(1, 40, 1, 1), (3, 8, 7, 100), (2, 96, 33, 70), (1, 1000, 3, 3), (2, 5, 64, 32), (9, 8, 4, 4)],
    ids=str,
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_weight_gradient_is_torchs(shape, layout):
    draw = torch.Generator().manual_seed(0)
    x, grad = (
        torch.randn(shape, generator=draw).contiguous(memory_format=layout) for _ in range(2)
    )
    for size in (7, 3):
        options = dict(padding=size // 2, groups=shape[1])
        wanted = torch.nn.grad.conv2d_weight(
            x.double(), (shape[1], 1, size, size), grad.double(), **options
        )
        assert_close([wanted], [cpu_path.weight_gradient(x, grad, size)], band=3e-6)


def test_hand_written_backward_passes_are_derivatives():
    torch.manual_seed(0)
    block = new_block(3).double()
    x = torch.randn(2, 3, 5, 9, dtype=torch.float64, requires_grad=True)
    assert gradcheck(
        lambda x, *_: cpu_path.depthwise(x, block.dwconv), (x, *block.dwconv.parameters())
    )
    layers = block.norm, block.pwconv1, block.pwconv2
    x, y = (torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for gamma in (block.gamma, None):
        parameters = [p for layer in layers for p in layer.parameters()]
        inputs = (x, y, *parameters, *([] if gamma is None else [gamma]))
        assert gradcheck(lambda *xy: cpu_path.add_norm_mlp(*xy[:2], *layers, gamma), inputs)  # noqa: B023


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("size", [(2, 3, 32, 32), (1, 3, 75, 142), (3, 3, 64, 48)], ids=str)
def test_a_model_computes_the_same(size):
    torch.manual_seed(0)
    model = ConvNeXt(SMALL, layer_scale_init_value=0.3)
    assert_close(*both(model, torch.randn(size)))
    assert_close(*both(model, torch.randn(size), torch.float64), band=1e-12)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("frozen", ["dwconv", "norm", "pwconv1", "pwconv2", "gamma", "all"])
def test_frozen_layers(frozen):
    block = new_block()
    for name, parameter in block.named_parameters():
        parameter.requires_grad_(frozen != "all" and not name.startswith(frozen))
    assert_close(*both(block, torch.randn(2, 8, 6, 5)))


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_stochastic_depth_keeps_the_same_samples(rate):
    block = new_block(drop_path=rate).train()
    for count in (1, 2, 7):
        x = torch.randn(count, 8, 6, 5).contiguous(memory_format=torch.channels_last)
        exact, found = both(block, x)
        assert_close(exact, found)
        assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert rate < 1 or all(not g.any() for g in found[2:])  # zeros, not None
    torch.manual_seed(0)
    kept = block(torch.randn(100, 8, 1, 1)) if rate < 1 else None
    assert kept is None or kept.isfinite().all()


@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_torchs_operations_leave_samples_out_too(rate):
    """As on a GPU without kernels, here under autocast, also where no sample is kept."""
    block, found = new_block(drop_path=rate).train(), []
    x = torch.randn(4, 8, 6, 5)
    for block.fast in (False, True):
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16):
            y = block(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(block.parameters()))])
    assert_close([one.double() for one in found[0]], found[1], band=0.03)
    assert rate < 1 or all(not g.any() for g in found[1][1:])


def test_dropped_samples_are_not_computed():
    block, seen = new_block(drop_path=0.5).train(), []
    block._add_branch_plain = block._add_branch_on_cpu = lambda x, scale: seen.append(len(x)) or x
    torch.manual_seed(0)
    for _ in range(200):
        block(torch.zeros(8, 8, 2, 2))
    assert 700 < sum(seen) < 900  # of 1600


def kept_bytes(block: Block, x: torch.Tensor) -> int:
    """Bytes that are saved for the backward pass, without parameters, each storage once."""
    own = {p.untyped_storage().data_ptr() for p in block.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        block(x)
    return sum(kept.values())


@pytest.mark.both_paths(slow=True)
def test_seven_feature_maps_instead_of_twelve_are_saved():
    x = torch.randn(1, 32, 24, 24).contiguous(memory_format=torch.channels_last).requires_grad_()
    plain, fast = (kept_bytes(new_block(32, fast=fast), x) / x.nbytes for fast in (False, True))
    assert 11.9 < plain < 13 and 6.9 < fast < 7.3


@pytest.mark.parametrize("use_grn", [False, True])
def test_the_gelu_can_be_recomputed_on_the_plain_path(use_grn):
    x = torch.randn(1, 32, 24, 24).contiguous(memory_format=torch.channels_last).requires_grad_()
    found = []
    for recompute in (False, True):
        block = new_block(32, fast=False, use_grn=use_grn, recompute_gelu=recompute)
        gradients = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
        found.append((kept_bytes(block, x) / x.nbytes, gradients))
    assert found[1][0] < found[0][0] - 3.9  # one feature map of 4 C channels fewer
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(one, other)


def test_the_recomputed_part_is_named():
    model = ConvNeXt(SMALL, with_cp="gelu")
    assert all(b.recompute_gelu for b in model.modules() if isinstance(b, Block))
    assert not model.with_cp and ConvNeXt(SMALL, with_cp="block").with_cp
    with pytest.raises(UserError, match="with_cp must be False, True or 'block' .*'all'"):
        ConvNeXt(SMALL, with_cp="all")


@pytest.mark.parametrize("size", [(2, 3, 96, 416), (1, 3, 75, 142)], ids=str)
@pytest.mark.parametrize("gamma", [0.3, 0])
def test_without_gradients_a_model_computes_the_same(size, gamma, monkeypatch):
    """The first image's feature maps have more rows than are computed at a time."""
    torch.manual_seed(0)
    model = ConvNeXt(SMALL, layer_scale_init_value=gamma).eval()
    image = torch.randn(size)
    exact, _ = both(model, image)
    in_place, calls = cpu_path.mlp_in_place, []
    monkeypatch.setattr(cpu_path, "mlp_in_place", lambda *args: calls.append(0) or in_place(*args))
    with torch.inference_mode():
        results = model(image)
    assert len(calls) == 5  # once a block
    assert_close(exact[:4], list(results))


def patch_forward(layer: nn.Module) -> None:
    """As libraries with adapters do."""
    old = layer.forward
    layer.forward = lambda x: 2 * old(x)


CHANGES = {
    "dilated": lambda block: vars(block.dwconv).update(dilation=(2, 2), padding=(6, 6)),
    "reflecting": lambda block: block.set_submodule(
        "dwconv", nn.Conv2d(8, 8, 7, padding=3, groups=8, padding_mode="reflect")
    ),
    "grouped": lambda block: block.set_submodule("dwconv", nn.Conv2d(8, 8, 3, padding=1, groups=2)),
    "tanh": lambda block: setattr(block.act, "approximate", "tanh"),
    "no bias": lambda block: block.set_submodule("pwconv2", nn.Linear(32, 8, bias=False)),
    "no gain": lambda block: block.set_submodule("norm", nn.LayerNorm(8, elementwise_affine=False)),
    "patched": lambda block: patch_forward(block.pwconv1),
    "unscaled": lambda block: setattr(block.drop_path, "scale_by_keep", False),
    "drop_path patched": lambda block: patch_forward(block.drop_path),
    "drop_path hook": lambda block: block.drop_path.register_forward_hook(lambda *y: 3 * y[2]),
}


@pytest.mark.both_paths(slow=True, taken=False)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_layers_are_called(change):
    block = new_block(drop_path=0.5).train()
    torch.manual_seed(3)
    CHANGES[change](block)
    x = torch.randn(4, 8, 9, 8)
    exact, found = both(block, x)
    assert_close(exact, found)
    with torch.no_grad():
        torch.manual_seed(5)
        assert_close(exact[:1], [block(x)])


@pytest.mark.both_paths(slow=True, taken=False)
def test_global_hooks_are_called():
    block, seen = new_block(), []
    handle = nn.modules.module.register_module_forward_hook(lambda layer, *_: seen.append(layer))
    try:
        block(torch.randn(1, 8, 4, 4))
    finally:
        handle.remove()
    assert block.pwconv1 in seen


@pytest.mark.both_paths(slow=True, taken=False)
def test_transforms_of_functions():
    block = new_block().eval()
    x, tangent = torch.randn(2, 3, 8, 5, 5)
    found = []
    for fast in (False, True):
        block.fast = fast
        per_sample = torch.func.vmap(torch.func.grad(lambda one: block(one[None]).square().sum()))
        results = [per_sample(x), torch.func.jvp(block, (x,), (tangent,))[1]]
        with torch.no_grad(), forward_ad.dual_level():
            results.append(forward_ad.unpack_dual(block(forward_ad.make_dual(x, tangent))).tangent)
            results.append(torch.vmap(lambda one: block(one[None]))(x))
        found.append([*results, torch.fx.symbolic_trace(block)(x)])
    assert_close(*found)


def test_second_derivatives():
    block = new_block(3).double()
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x, *_: block(x), (x, *block.parameters()))
    found = []
    for block.fast in (False, True):
        y = block(x).sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        penalty = y + slope.square().sum()
        found.append(torch.autograd.grad(penalty, [x, *block.parameters()]))
    assert_close(*found, band=1e-10)


@pytest.mark.both_paths
def test_several_gradients_at_once():
    """As torch.autograd.functional.jacobian(vectorize=True) has them."""
    block, x = new_block(), torch.randn(1, 8, 2, 1, requires_grad=True)
    found, several = [], torch.randn(3, 1, 8, 2, 1)
    for block.fast in (False, True):
        wanted = [x, *block.parameters()]
        found.append(torch.autograd.grad(block(x), wanted, several, is_grads_batched=True))
    assert_close([one.double() for one in found[0]], found[1])


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("how", ["hook", "other layer", "autocast", "grn", "meta", "traced"])
def test_where_the_cpu_path_is_not_taken(how, gradients, monkeypatch):
    block = new_block(use_grn=how == "grn")
    for name in ("add_norm_mlp", "mlp_in_place"):
        monkeypatch.setattr(cpu_path, name, partial(pytest.fail, "the CPU path was taken"))
    if how == "hook":
        block.pwconv1.register_forward_hook(lambda *_: None)
    elif how == "other layer":
        block.pwconv2 = nn.Sequential(block.pwconv2)
    with (
        torch.set_grad_enabled(gradients),
        torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"),
    ):
        block.to("meta" if how == "meta" else "cpu")
        x = torch.randn(1, 8, 4, 4, device=block.norm.weight.device)
        run = torch.jit.trace(block, x, check_trace=False) if how == "traced" else block
        run(x)


@pytest.mark.both_paths(slow=True)
def test_a_compiled_model_is_one_graph():
    model = ConvNeXt(SMALL, drop_path_rate=0.5, out_indices=(0,)).train()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    compiled(torch.randn(2, 3, 64, 64))[0].sum().backward()  # a break would raise: fullgraph
    assert all(p.grad is not None for p in model.stages.parameters())


def test_batches_and_maps_stay_in_channels_last(monkeypatch):
    """Each layer gets channels-last feature maps, without conversions between layers."""
    model = ConvNeXt(SMALL, layer_scale_init_value=0.3, drop_path_rate=0.3).train()
    seen = []

    def watch(x, conv):
        seen.append(x)
        return nn.functional.conv2d(x, conv.weight, conv.bias, padding=3, groups=len(conv.weight))

    monkeypatch.setattr(cpu_path, "depthwise", watch)
    for y in model(torch.randn(4, 3, 64, 96)):
        assert y.is_contiguous(memory_format=torch.channels_last)
    assert len(seen) >= 4
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
