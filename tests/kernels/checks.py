"""Checks in Triton's interpreter; `test_interpreted.py` calls them by name."""

from functools import partial
from unittest import mock

import torch
from torch.utils.checkpoint import checkpoint

from convnext_dense import kernels
from convnext_dense.kernels import operators, products, tiles
from tests.kernels import plain

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}


def interpreted():
    """This process interprets, with tiles that make several programs and steps."""
    assert tiles.INTERPRETED and not torch.cuda.is_available()


def _compare(ours, theirs, inputs, dtype=torch.float32):
    far = plain.distances(plain.results(ours, inputs), plain.results(theirs, inputs))
    assert max(far) < TOLERANCE[dtype], far


def depthwise(shape, dtype=torch.float32, contiguous=True, blocks=3):
    """With several blocks of channels, as compiled; the interpreter's default is one."""
    with mock.patch.object(tiles, "MOST_BLOCKS", blocks):
        _depthwise(shape, dtype, contiguous)


def _depthwise(shape, dtype, contiguous):
    torch.manual_seed(0)
    c = shape[1]
    x = torch.randn(shape, dtype=dtype)
    if contiguous:
        x = x.to(memory_format=torch.channels_last)
    else:
        # Every second column of a wider image: neither layout fits.
        x = torch.randn((*shape[:3], 2 * shape[3]), dtype=dtype)[..., ::2]
    inputs = [x.requires_grad_(), *plain.parameters(c, dtype=dtype)[:4]]
    _compare(
        lambda: kernels.dwconv_norm(*inputs, plain.EPS),
        lambda: plain.dwconv_norm(*inputs),
        inputs,
        dtype,
    )


def mlp(c, rows, fuse_expand, fuse_project, gamma=True, dtype=torch.float32):
    torch.manual_seed(0)
    y, residual = (torch.randn(1, rows, 1, c, dtype=dtype).requires_grad_() for _ in range(2))
    inputs = [y, residual, *plain.parameters(c, gamma, dtype)[4:]]
    _compare(
        lambda: kernels.mlp(*inputs, fuse_expand, fuse_project),
        lambda: plain.mlp(*inputs),
        inputs,
        dtype,
    )


def block():
    """A batch in both memory formats: right, and the same bits from two runs."""
    torch.manual_seed(0)
    p = plain.parameters(20)
    image = torch.randn(2, 20, 3, 3)
    runs = []
    for layout in (torch.channels_last, torch.contiguous_format):
        x = image.to(memory_format=layout).requires_grad_()
        inputs = (x, *p[:4], plain.EPS, *p[4:])
        ours = partial(kernels.block, *inputs, fuse_expand=True, fuse_project=True)
        runs.append(plain.results(ours, [x, *p]))
        assert runs[-1][0].is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    exact = plain.results(lambda: plain.block(x, *p), [x, *p])
    assert max(plain.distances(runs[0], exact)) < TOLERANCE[torch.float32]


def gradcheck():
    """Both operators against finite differences, along drawn directions, in float64."""
    torch.manual_seed(0)
    p = plain.parameters(3, dtype=torch.float64)
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda *a: kernels.dwconv_norm(*a, plain.EPS), (x, *p[:4]), fast_mode=True)
    y = x.detach().permute(0, 2, 3, 1).requires_grad_()
    for fuse in (True, False):
        inputs = (y, y.detach().clone().requires_grad_(), *p[4:])
        assert check(lambda *a, fuse=fuse: kernels.mlp(*a, fuse, fuse), inputs, fast_mode=True)


def opcheck(name):
    torch.manual_seed(0)
    p = plain.parameters(4)
    x = torch.randn(1, 2, 2, 4, requires_grad=True)
    if name == "dwconv_norm":
        arguments = (x, *p[:4], plain.EPS, True)
    elif name == "mlp":
        arguments = (x, x.detach().clone().requires_grad_(), *p[4:], True, True, True)
    elif name == "dwconv_norm_backward":
        x, w, b, g, s = (v.detach() for v in (x, *p[:4]))
        saved = operators.dwconv_norm(x, w, b, g, s, plain.EPS, True)[1:]
        arguments = (torch.randn_like(x), x, *saved, w, g, True, True)
    else:
        x, w1, _, w2, b2, gamma = (v.detach() for v in (x, *p[4:]))
        h = torch.randn(4, 16)
        arguments = (torch.randn_like(x), x, h, w1, w2, b2, gamma, True, True, True)
    # The backward operators have no autograd: only their schema and fakes are checked.
    utils = ("test_schema", "test_faketensor")
    if "backward" not in name:
        utils += ("test_autograd_registration", "test_aot_dispatch_dynamic")
    operator = getattr(torch.ops.convnext_dense, name).default
    torch.library.opcheck(operator, arguments, test_utils=utils)


def compiled():
    """One graph without breaks, the same results: forward and backward."""
    torch.manual_seed(0)
    p = plain.parameters(8)
    x = torch.randn(1, 8, 2, 2, requires_grad=True)

    def run(x, *p):
        return kernels.block(x, *p[:4], plain.EPS, *p[4:], fuse_expand=True, fuse_project=True)

    graph = torch.compile(run, backend="aot_eager", fullgraph=True)
    _compare(lambda: graph(x, *p), lambda: plain.block(x, *p), [x, *p])


def checkpointed():
    torch.manual_seed(0)
    p = plain.parameters(8)
    x = torch.randn(1, 8, 2, 2, requires_grad=True)

    def run(x):
        return kernels.block(x, *p[:4], plain.EPS, *p[4:], fuse_expand=True, fuse_project=True)

    again = lambda: checkpoint(run, x, use_reentrant=False)  # noqa: E731
    _compare(again, lambda: plain.block(x, *p), [x, *p])


def autocast(stream):
    """The branch in bf16, the residual stream in its own type, parameters' gradients in float32."""
    torch.manual_seed(0)
    p = plain.parameters(16)
    x = torch.randn(1, 16, 2, 2).to(stream).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = kernels.dwconv_norm(x, *p[:4], plain.EPS)
        out = kernels.block(x, *p[:4], plain.EPS, *p[4:])
    assert y.dtype == torch.bfloat16 and out.dtype == stream
    gradients = torch.autograd.grad(out.float().sum(), [x, *p])
    assert [g.dtype for g in gradients] == [stream] + [torch.float32] * 9
    x, p = x.detach().double().requires_grad_(), [v.detach().double().requires_grad_() for v in p]
    exact = plain.block(x, *p)
    expected = torch.autograd.grad(exact.sum(), [x, *p])
    far = plain.distances([out.detach(), *gradients], [exact.detach(), *expected])
    assert max(far) < 0.02, far


def saved_memory():
    """Saved for the backward: x, conv, y (A each) and h (4A), and 8 bytes a pixel."""
    p = plain.parameters(16)
    x = torch.randn(1, 2, 2, 16).permute(0, 3, 1, 2).requires_grad_()
    kept = {}

    def pack(value):
        kept[value.untyped_storage().data_ptr()] = value.numel()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        out = kernels.block(x, *p[:4], plain.EPS, *p[4:])
    own = {v.untyped_storage().data_ptr() for v in p}
    assert sum(n for key, n in kept.items() if key not in own) == 7 * x.numel() + 2 * 4
    del out
    with torch.no_grad():
        saved = operators.mlp(*[torch.zeros(1, 1, 1, 16)] * 2, *p[4:], False, False, False)[1]
    assert saved.numel() == 0


def without_save():
    """A backward pass after a forward pass without ``save`` raises an error."""
    p = plain.parameters(4)
    x = torch.randn(1, 1, 1, 4, requires_grad=True)
    for out in (
        operators.dwconv_norm(x, *p[:4], plain.EPS, False)[0],
        operators.mlp(x, x, *p[4:], False, False, False)[0],
    ):
        try:
            out.sum().backward()
        except RuntimeError as error:
            assert "without save" in str(error)
        else:
            raise AssertionError("no error")


def half_precision_gamma():
    """A gamma of 1e-6 works in float16: folded into the weight, it would vanish."""
    torch.manual_seed(0)
    p = plain.parameters(16)
    p[-1] = torch.full((16,), 1e-6, requires_grad=True)
    y = torch.randn(1, 2, 2, 16).half().requires_grad_()
    far = {}
    for fused in (True, False):
        if fused:
            out = kernels.mlp(y, torch.zeros(1, 2, 2, 16), *p[4:], fused, fused)
            exact = plain.mlp(y.double(), 0.0, *(v.double() for v in p[4:]))
            far["out"] = plain.distances([out.detach()], [exact.detach()])[0]
        out = kernels.mlp(y, torch.zeros(1, 2, 2, 16), *p[4:], fused, False)
        (gradient,) = torch.autograd.grad(out.sum() * 2**16, y)
        exact = plain.mlp(
            wide := y.detach().double().requires_grad_(), 0.0, *(v.double() for v in p[4:])
        )
        (expected,) = torch.autograd.grad(exact.sum() * 2**16, wide)
        far[fused] = plain.distances([gradient], [expected])[0]
    assert max(far.values()) < 0.02, far


def gpu_check(name):
    """One check of `benchmarks/gpu.py --check`, small; the reason where it cannot run here."""
    from gpu_checks import CHECKS, NotRun  # here, since mmengine and timm take seconds to import

    try:
        CHECKS[name].run("cpu")
    except NotRun as reason:
        return str(reason)
    return ""


def split():
    """At most three blocks cover the channels, with no more padding than one block has."""
    with mock.patch.object(tiles, "MOST_BLOCKS", 3):
        for c in range(16, 2049):
            block, count = tiles.split_channels(c, 2048)
            assert count <= 3 and c <= block * count <= products.triton.next_power_of_2(c)
        assert tiles.split_channels(96, 2048) == (32, 3)
        assert tiles.split_channels(2048, 64) == (64, 32)
