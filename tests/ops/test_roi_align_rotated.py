"""Rotated RoIAlign: mmcv's published values, upright RoIAlign, turned images, numeric gradients."""

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
LARGE_GRADIENT = torch.outer(SIDE, SIDE).tolist()
PUBLISHED = [
    ([SQUARE], [0.5, 0.5, 1, 1, 0], [[[1.0, 1.25], [1.5, 1.75]]], [SMALL_GRADIENT]),
    ([SQUARE], [0.5, 0.5, 1, 1, math.pi / 2], [[[1.5, 1.0], [1.75, 1.25]]], [SMALL_GRADIENT]),
    (
        [SQUARE, OTHER],
        [0.5, 0.5, 1, 1, 0],
        [[[1.0, 1.25], [1.5, 1.75]], [[4.0, 3.75], [3.5, 3.25]]],
        [SMALL_GRADIENT] * 2,
    ),
    ([LARGE], [1.5, 1.5, 3, 3, 0], [[[1.9375, 4.75], [7.5625, 10.375]]], [LARGE_GRADIENT]),
    (
        [LARGE],
        [1.5, 1.5, 3, 3, math.pi / 2],
        [[[7.5625, 1.9375], [10.375, 4.75]]],
        [LARGE_GRADIENT],
    ),
]

# Image number, centre, width, height, angle.
ROIS = torch.tensor(
    [
        [0, 17.1, 14.7, 27.6, 15.3, 0.3],
        [1, 24, 18, 47, 35, -1.1],
        [0, 0.5, 2.75, 19, 19.5, 2.5],
        [1, 55, 45, 30, 30, 0.7],
        [0, 7.5, 15, -5, 10, 0.2],  # negative width
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("case", PUBLISHED)
def test_published_values(device, case, dtype):
    features, roi, output, gradient = case
    features = torch.tensor([features], device=device, dtype=dtype, requires_grad=True)
    rois = torch.tensor([[0, *roi]], device=device, dtype=dtype)
    pooled = ops.roi_align_rotated(features, rois, (2, 2), 1.0, 2, True)
    pooled.backward(torch.ones_like(pooled))
    torch.testing.assert_close(pooled, pooled.new_tensor([output]), rtol=0, atol=1e-3)
    torch.testing.assert_close(features.grad, pooled.new_tensor([gradient]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_equals_roi_align_without_a_turn(random, device, ratio, aligned):
    features = torch.randn(2, 3, 9, 12, generator=random, dtype=torch.float64).to(device)
    features.requires_grad_()
    # Without `aligned` a negative size becomes 1 pixel around the centre, or from the corner on.
    rois = ROIS[: None if aligned else -1].to(device).clone()
    rois[:, 5] = 0
    centre, size = rois[:, 1:3], rois[:, 3:5]
    upright = torch.cat([rois[:, :1], centre - size / 2, centre + size / 2], dim=1)
    expected = ops.roi_align(features, upright, 3, 0.25, ratio, "avg", aligned)
    pooled = ops.roi_align_rotated(features, rois, 3, 0.25, ratio, aligned)
    gradient = torch.randn(pooled.shape, generator=random, dtype=torch.float64).to(device)
    torch.testing.assert_close(pooled, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad(pooled, features, gradient),
        torch.autograd.grad(expected, features, gradient),
    )


def test_small_regions_without_aligned_have_one_pixel(random, device):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device)
    small = torch.tensor([[0, 17.0, 14, 2, -3, 0.3], [1, 24, 18, 4, 4, 0.3]], device=device)
    one_pixel = small.clone()
    one_pixel[:, 3:5] = 4
    found, expected = (
        ops.roi_align_rotated(features, rois, 3, 0.25, 2, False) for rois in (small, one_pixel)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("clockwise", [True, False])
def test_linear_features_are_read_at_turned_points(device, clockwise):
    """Where features are a coordinate, an average is the coordinate of the bin's centre."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    features = torch.stack([x, y])[None].to(device)
    angle = 0.4
    roi = torch.tensor([[0, 80.0, 72.0, 40.0, 24.0, angle]], device=device)
    x, y = ops.roi_align_rotated(features, roi, (3, 5), 0.25, 0, True, clockwise)[0].cpu()
    turn = angle if clockwise else -angle  # clockwise in an image turns x towards y
    along = (torch.arange(5.0) - 2) * 2
    across = ((torch.arange(3.0) - 1) * 2)[:, None]
    torch.testing.assert_close(x, 19.5 + along * math.cos(turn) - across * math.sin(turn))
    torch.testing.assert_close(y, 17.5 + along * math.sin(turn) + across * math.cos(turn))


@pytest.mark.parametrize("limit", [1, 1 << 22])
@pytest.mark.parametrize("ratio", [0, 2])
def test_gradcheck(random, device, monkeypatch, ratio, limit):
    monkeypatch.setattr(ours, "GATHER_LIMIT", limit)
    features = torch.randn(2, 2, 9, 12, generator=random, dtype=torch.float64).to(device)
    assert torch.autograd.gradcheck(
        lambda leaf: ops.roi_align_rotated(leaf, ROIS.to(device), (2, 3), 0.25, ratio),
        features.requires_grad_(),
        fast_mode=True,
    )


def test_parts_change_nothing(random, device, monkeypatch):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device)
    whole = ops.roi_align_rotated(features, ROIS.float().to(device), 3, 0.25)
    monkeypatch.setattr(ours, "GATHER_LIMIT", 1)
    parts = ops.roi_align_rotated(features, ROIS.float().to(device), 3, 0.25)
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(random, device, dtype):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device, dtype).requires_grad_()
    rois = ROIS.to(device, dtype)
    pooled = ops.RoIAlignRotated(3, 0.25)(features, rois)
    pooled.sum().backward()
    expected = ops.roi_align_rotated(features.detach().float(), rois.float(), 3, 0.25)
    assert pooled.dtype == features.grad.dtype == dtype
    torch.testing.assert_close(pooled, expected.to(dtype))


def test_no_regions(device):
    features = torch.randn(1, 3, 9, 12, device=device, requires_grad=True)
    pooled = ops.roi_align_rotated(features, torch.zeros(0, 6, device=device), 7, 0.25)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert not features.grad.any()


def test_a_region_that_is_not_finite_spoils_itself_alone(random, device):
    features = torch.randn(2, 3, 9, 12, generator=random).to(device)
    rois = ROIS[:2].float().to(device)
    expected = ops.roi_align_rotated(features, rois[1:], 3, 0.25, 2)
    rois[0, 3] = math.nan
    pooled = ops.roi_align_rotated(features, rois, 3, 0.25, 2)
    assert pooled[0].isnan().all()
    torch.testing.assert_close(pooled[1:], expected)
