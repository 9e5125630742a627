"""CARAFE against a loop over pixels and against torch's unfold; gradients in float64."""

import sys

import pytest
import torch
import torch.nn.functional as F

from convnext_dense.ops import carafe as ours

ops = pytest.importorskip("mmcv.ops")


@pytest.fixture
def extension():
    return sys.modules["mmcv._ext"]


def carafe_by_loop(features, masks, kernel, groups, scale):
    """The definition, one product at a time."""
    count, channels, height, width = features.shape
    output = torch.zeros(count, channels, height * scale, width * scale, dtype=features.dtype)
    masks = masks.view(count, groups, kernel, kernel, *masks.shape[2:])
    for n, c, y, x in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        for i in range(kernel):
            for j in range(kernel):
                row, column = y // scale + i - kernel // 2, x // scale + j - kernel // 2
                if 0 <= row < height and 0 <= column < width:
                    weight = masks[n, c * groups // channels, i, j, y, x]
                    output[n, c, y, x] += features[n, c, row, column] * weight
    return output


def carafe_by_unfold(features, masks, kernel, groups, scale):
    """All patches at once, differentiable."""
    count, channels = features.shape[:2]
    patches = F.unfold(features, kernel, padding=kernel // 2)
    patches = patches.view(count, channels * kernel**2, *features.shape[2:])
    patches = F.interpolate(patches, scale_factor=scale, mode="nearest")
    patches = patches.view(count, groups, channels // groups, kernel**2, *masks.shape[2:])
    weights = masks.view(count, groups, 1, kernel**2, *masks.shape[2:])
    return (patches * weights).sum(dim=3).flatten(1, 2)


def inputs(random, kernel, groups, scale, size=(3, 5), channels=4):
    features = torch.randn(2, channels, *size, generator=random, dtype=torch.float64)
    shape = 2, groups * kernel**2, size[0] * scale, size[1] * scale
    return features, torch.randn(shape, generator=random, dtype=torch.float64).sigmoid()


GEOMETRIES = [(5, 4, 2), (3, 1, 1), (1, 2, 3), (3, 2, 2)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("operator", ["carafe", "carafe_naive"])
def test_equals_the_loop(random, device, operator, geometry):
    features, masks = inputs(random, *geometry)
    result = getattr(ops, operator)(features.to(device), masks.to(device), *geometry)
    torch.testing.assert_close(result.cpu(), carafe_by_loop(features, masks, *geometry))


@pytest.mark.parametrize("limit", [1, 1 << 9, 1 << 24])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_equal_those_of_unfold(random, device, monkeypatch, geometry, limit):
    monkeypatch.setattr(ours, "PATCH_LIMIT", limit)
    leaves = [leaf.to(device).requires_grad_() for leaf in inputs(random, *geometry, (6, 4), 8)]
    expected, result = carafe_by_unfold(*leaves, *geometry), ops.carafe(*leaves, *geometry)
    gradient = torch.randn(result.shape, generator=random, dtype=torch.float64).to(device)
    # Not contiguous: mmcv's wrapper makes it so for the kernels, ours take it as it comes.
    gradient = gradient.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(
        torch.autograd.grad(result, leaves, gradient),
        torch.autograd.grad(expected, leaves, gradient),
    )


def test_the_naive_backward_pass_equals_the_other(random, extension):
    """mmcv's own wrapper of the naive form refuses a backward pass on the CPU."""
    features, masks = inputs(random, 5, 4, 2)
    output = torch.randn(2, 4, 6, 10, generator=random, dtype=torch.float64)
    leaves = features.requires_grad_(), masks.requires_grad_()
    expected = torch.autograd.grad(ops.carafe(*leaves, 5, 4, 2), leaves, output)
    gradients = torch.zeros_like(features), torch.zeros_like(masks)
    sources = output, features.detach(), masks.detach()
    extension.carafe_naive_backward(
        *sources, *gradients, kernel_size=5, group_size=4, scale_factor=2
    )
    torch.testing.assert_close(gradients, expected)


def test_gradcheck(random, device):
    """mmcv's own check, on fewer channels."""
    leaves = [leaf.to(device).requires_grad_() for leaf in inputs(random, 5, 4, 2, (3, 3), 8)]
    assert torch.autograd.gradcheck(ops.CARAFE(5, 4, 2), leaves, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(random, device, dtype):
    features, masks = (leaf.to(device, dtype) for leaf in inputs(random, 5, 4, 2))
    result = ops.carafe(features.requires_grad_(), masks.requires_grad_(), 5, 4, 2)
    result.sum().backward()
    expected = ops.carafe(features.detach().float(), masks.detach().float(), 5, 4, 2)
    assert result.dtype == features.grad.dtype == masks.grad.dtype == dtype
    torch.testing.assert_close(result, expected.to(dtype))


def test_empty_batch(device):
    features = torch.zeros(0, 4, 3, 3, device=device, requires_grad=True)
    result = ops.carafe(features, torch.zeros(0, 25, 6, 6, device=device), 5, 1, 2)
    assert result.shape == (0, 4, 6, 6)
    result.sum().backward()
    assert features.grad.shape == features.shape


def test_pack_upsamples_constant_features(device):
    """Weights of a tap sum to 1, so a constant stays itself away from the border."""
    pack = ops.CARAFEPack(8, 2).to(device)
    upsampled = pack(torch.full((1, 8, 9, 9), 3.0, device=device))
    torch.testing.assert_close(
        upsampled[..., 4:14, 4:14], torch.full((1, 8, 10, 10), 3.0, device=device)
    )
