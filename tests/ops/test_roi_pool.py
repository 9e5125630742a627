"""RoIPool against a loop with mmcv's bins, and against torchvision where the two agree."""

import math

import pytest
import torch
import torchvision

from convnext_dense.ops import roi_pool as ours

ops = pytest.importorskip("mmcv.ops")


def pool_by_loop(features, rois, bins, scale):
    height, width = features.shape[2:]
    pooled = features.new_zeros(len(rois), features.shape[1], bins, bins)
    for number, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x, w = x1 * scale, (x2 + 1) * scale - x1 * scale
        y, h = y1 * scale, (y2 + 1) * scale - y1 * scale
        if w <= 0 or h <= 0:
            continue
        for i in range(bins):
            for j in range(bins):
                rows = slice(
                    min(max(math.floor(y + i * h / bins), 0), height),
                    min(max(math.ceil(y + (i + 1) * h / bins), 0), height),
                )
                columns = slice(
                    min(max(math.floor(x + j * w / bins), 0), width),
                    min(max(math.ceil(x + (j + 1) * w / bins), 0), width),
                )
                patch = features[int(image), :, rows, columns].flatten(1)
                if patch.shape[1]:
                    pooled[number, :, i, j] = patch.max(dim=1).values
    return pooled


ROIS = torch.tensor(
    [
        [0, 3.3, 7.1, 30.9, 22.4],
        [1, 0, 0, 47, 35],
        [1, 20.5, 2.2, 22.1, 30.3],
        [0, -9, -7, 10, 12.5],
        [0, 40, 30, 70, 60],
        [1, 90, 90, 99, 99],  # outside
        [0, 10, 10, 5, 20],  # negative width
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("limit", [1, 1 << 22])
@pytest.mark.parametrize("bins", [1, 3, 7])
def test_equals_the_loop(random, device, monkeypatch, bins, limit):
    monkeypatch.setattr(ours, "GATHER_LIMIT", limit)
    features = torch.randn(2, 3, 9, 12, generator=random, dtype=torch.float64)
    expected_input = features.clone().requires_grad_()
    expected = pool_by_loop(expected_input, ROIS, bins, 0.25)
    weight = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    (expected * weight).sum().backward()

    features = features.to(device).requires_grad_()
    pooled = ops.RoIPool(bins, 0.25)(features, ROIS.to(device))
    (pooled * weight.to(device)).sum().backward()
    torch.testing.assert_close(pooled.detach().cpu(), expected.detach())
    torch.testing.assert_close(features.grad.cpu(), expected_input.grad)


def test_equals_torchvision_on_whole_pixels(random, device):
    """Without rounding the two definitions agree."""
    features = torch.randn(2, 3, 20, 30, generator=random).to(device).requires_grad_()
    rois = torch.tensor([[0, 2.0, 3, 17, 12], [1, 0, 0, 29, 19], [1, 5, 5, 5, 5]], device=device)
    expected = torchvision.ops.roi_pool(features, rois, 7, 1.0)
    pooled = ops.roi_pool(features, rois, 7, 1.0)
    gradient = torch.randn(pooled.shape, generator=random).to(device)
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(
        torch.autograd.grad(pooled, features, gradient),
        torch.autograd.grad(expected, features, gradient),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(random, device, dtype):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device, dtype).requires_grad_()
    rois = ROIS.float().to(device)
    pooled = ops.roi_pool(features, rois, 3, 0.25)
    pooled.sum().backward()
    assert pooled.dtype == features.grad.dtype == dtype
    torch.testing.assert_close(pooled, ops.roi_pool(features.float(), rois, 3, 0.25).to(dtype))


def test_no_regions(device):
    features = torch.randn(1, 3, 9, 12, device=device, requires_grad=True)
    pooled = ops.roi_pool(features, torch.zeros(0, 5, device=device), 7, 0.25)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert not features.grad.any()
