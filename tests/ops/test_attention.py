"""Multi-scale deformable attention against mmcv's Python version, which mmcv uses on the CPU."""

import pytest
import torch

attention = pytest.importorskip("mmcv.ops.multi_scale_deform_attn")
SHAPES = torch.tensor([[6, 4], [3, 5]])


def build(random, dtype=torch.float64):
    """Values of 3 heads, locations of 5 queries with 2 points per level (some outside), weights."""
    value = torch.randn(2, 39, 3, 4, generator=random, dtype=torch.float64)
    locations = torch.rand(2, 5, 3, 2, 2, 2, generator=random, dtype=torch.float64) * 1.4 - 0.2
    weights = torch.rand(2, 5, 3, 2, 2, generator=random, dtype=torch.float64)
    return [tensor.to(dtype).requires_grad_() for tensor in (value, locations, weights)]


def attend(value, locations, weights):
    start = torch.tensor([0, 24], device=value.device)
    shapes = SHAPES.to(value.device)
    function = attention.MultiScaleDeformableAttnFunction
    return function.apply(value, shapes, start, locations, weights, 64)


def test_equals_mmcvs_python_version(random, device):
    inputs = build(random)
    expected = attention.multi_scale_deformable_attn_pytorch(inputs[0], SHAPES, *inputs[1:])
    weight = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), inputs)

    inputs = [tensor.detach().to(device).requires_grad_() for tensor in inputs]
    output = attend(*inputs)
    torch.testing.assert_close(output.cpu(), expected)
    found = torch.autograd.grad((output * weight.to(device)).sum(), inputs)
    torch.testing.assert_close([gradient.cpu() for gradient in found], list(expected_gradients))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(random, device, dtype):
    inputs = [tensor.detach().to(device).requires_grad_() for tensor in build(random, dtype)]
    output = attend(*inputs)
    output.sum().backward()
    assert output.dtype == dtype
    expected = attend(*[tensor.detach().float() for tensor in inputs])
    torch.testing.assert_close(output, expected.to(dtype))
    assert all(tensor.grad.dtype == dtype for tensor in inputs)
