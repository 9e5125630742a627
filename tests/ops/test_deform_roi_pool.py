"""Deformable RoI pooling: mmcv's published values, RoIAlign, a loop, and numeric gradients."""

import math

import pytest
import torch

from convnext_dense.ops.regions import bins as ours

ops = pytest.importorskip("mmcv.ops")

# Features, region, output and gradient of the features of mmcv's test suite: 2 x 2 bins of 2 x 2
# samples at scale 1, and a gradient of 1 in every bin.
SQUARE, OTHER = [[1.0, 2], [3, 4]], [[4.0, 3], [2, 1]]
LARGE = [[1.0, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]
SMALL_GRADIENT = [[3.0625, 0.4375], [0.4375, 0.0625]]
SIDE = torch.tensor([0.6875, 0.625, 0.625, 0.0625])  # their outer product is the large gradient
PUBLISHED = [
    ([SQUARE], [0.0, 0, 0, 1, 1], [[[1.0, 1.25], [1.5, 1.75]]], [SMALL_GRADIENT]),
    (
        [SQUARE, OTHER],
        [0.0, 0, 0, 1, 1],
        [[[1.0, 1.25], [1.5, 1.75]], [[4.0, 3.75], [3.5, 3.25]]],
        [SMALL_GRADIENT] * 2,
    ),
    (
        [LARGE],
        [0.0, 0, 0, 3, 3],
        [[[1.9375, 4.75], [7.5625, 10.375]]],
        [torch.outer(SIDE, SIDE).tolist()],
    ),
]

ROIS = torch.tensor(
    [
        [0, 3.3, 7.1, 30.9, 22.4],
        [1, 0, 0, 47, 35],
        [0, -9, -7, 10, 12.5],
        [1, 40, 30, 70, 60],
        [0, 10, 10, 5, 20],  # negative width
    ],
    dtype=torch.float64,
)


def bilinear(image, y, x):
    """(C,) of (C, H, W) at a point; the border's value up to one pixel outside, then 0."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return image.new_zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = image[:, top, left] * (left + 1 - x) + image[:, top, right] * (x - left)
    below = image[:, bottom, left] * (left + 1 - x) + image[:, bottom, right] * (x - left)
    return above * (top + 1 - y) + below * (y - top)


def pool_by_loop(features, rois, offset, bins, scale, ratio, gamma):
    pooled = features.new_zeros(len(rois), features.shape[1], bins, bins)
    for number, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - 0.5 for corner in corners)
        width, height = x2 - x1, y2 - y1
        rows = ratio or max(math.ceil(height / bins), 0)
        columns = ratio or max(math.ceil(width / bins), 0)
        for i in range(bins):
            for j in range(bins):
                dx, dy = offset[number, :, i, j].tolist()
                for row in range(rows):
                    y = y1 + gamma * height * dy + (i + (row + 0.5) / rows) * height / bins
                    for column in range(columns):
                        x = x1 + gamma * width * dx + (j + (column + 0.5) / columns) * width / bins
                        value = bilinear(features[int(image)], y, x) / (rows * columns)
                        pooled[number, :, i, j] += value
    return pooled


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("case", PUBLISHED)
def test_published_values(device, case, dtype):
    features, roi, output, gradient = (
        torch.tensor([value], device=device, dtype=dtype) for value in case
    )
    pack = ops.DeformRoIPoolPack((2, 2), features.shape[1], sampling_ratio=2).to(device, dtype)
    pooled = pack(features.requires_grad_(), roi)
    pooled.backward(torch.ones_like(pooled))
    torch.testing.assert_close(pooled, output, rtol=1e-3, atol=0)
    torch.testing.assert_close(features.grad, gradient, rtol=1e-3, atol=0)


@pytest.mark.parametrize("limit", [1, 1 << 22])
@pytest.mark.parametrize("ratio", [0, 2])
def test_equals_the_loop(random, device, monkeypatch, ratio, limit):
    monkeypatch.setattr(ours, "GATHER_LIMIT", limit)
    features = torch.randn(2, 3, 9, 12, generator=random, dtype=torch.float64)
    offset = torch.randn(len(ROIS), 2, 3, 3, generator=random, dtype=torch.float64)
    arguments = 3, 0.25, ratio, 0.1
    expected = pool_by_loop(features, ROIS, offset, *arguments)
    pooled = ops.deform_roi_pool(
        features.to(device), ROIS.to(device), offset.to(device), *arguments
    )
    torch.testing.assert_close(pooled.cpu(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ratio", [0, 2])
def test_equals_roi_align_without_offsets(random, device, ratio):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device).requires_grad_()
    rois = ROIS[:4].float().to(device)
    expected = ops.roi_align(features, rois, 3, 0.25, ratio)
    pooled = ops.deform_roi_pool(features, rois, None, 3, 0.25, ratio)
    gradient = torch.randn(pooled.shape, generator=random).to(device)
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(
        torch.autograd.grad(pooled, features, gradient),
        torch.autograd.grad(expected, features, gradient),
    )


@pytest.mark.parametrize("limit", [1, 1 << 22])
def test_gradcheck(random, device, monkeypatch, limit):
    monkeypatch.setattr(ours, "GATHER_LIMIT", limit)
    features = torch.randn(2, 2, 9, 12, generator=random, dtype=torch.float64).to(device)
    offset = torch.randn(len(ROIS), 2, 2, 2, generator=random, dtype=torch.float64).to(device)
    assert torch.autograd.gradcheck(
        lambda *leaves: ops.deform_roi_pool(leaves[0], ROIS.to(device), leaves[1], 2, 0.25, 2),
        (features.requires_grad_(), offset.requires_grad_()),
        fast_mode=True,
    )


def test_modulated_form_is_the_plain_one_times_a_mask(random, device):
    pack = ops.ModulatedDeformRoIPoolPack((2, 2), 3, 16, 0.25, 2).to(device)
    features = torch.randn(2, 3, 9, 12, generator=random).to(device)
    rois = ROIS[:4].float().to(device)
    plain = ops.deform_roi_pool(features, rois, None, (2, 2), 0.25, 2)
    torch.testing.assert_close(pack(features, rois), plain * 0.5)  # its layers start at 0
    pack(features.requires_grad_(), rois).square().sum().backward()
    assert features.grad.any() and pack.mask_fc[2].weight.grad.any()
    assert pack.offset_fc[-1].weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(random, device, dtype):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device, dtype).requires_grad_()
    offset = torch.randn(4, 2, 3, 3, generator=random).to(device, dtype).requires_grad_()
    rois = ROIS[:4].to(device, dtype)
    pooled = ops.deform_roi_pool(features, rois, offset, 3, 0.25)
    pooled.sum().backward()
    operands = (value.detach().float() for value in (features, rois, offset))
    assert pooled.dtype == features.grad.dtype == offset.grad.dtype == dtype
    torch.testing.assert_close(pooled, ops.deform_roi_pool(*operands, 3, 0.25).to(dtype))


def test_no_regions(device):
    features = torch.randn(1, 3, 9, 12, device=device, requires_grad=True)
    pooled = ops.deform_roi_pool(features, torch.zeros(0, 5, device=device), None, 7, 0.25)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert not features.grad.any()
