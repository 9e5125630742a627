"""RoIAlign against the compiled mmcv, in every precision, and its gradients."""

import pytest
import torch

from convnext_dense.ops import roi_align as ours

ops = pytest.importorskip("mmcv.ops")
AVERAGES = [(aligned, ratio, size) for aligned in (1, 0) for ratio in (0, 2) for size in (7, 14)]
CASES = [("avg", *case) for case in AVERAGES] + [("max", 1, 2, 7)]


def features_and_rois(random, dtype=torch.float32):
    """Two small feature maps of stride 4; the last regions are tiny, half outside and outside."""
    features = torch.randn(2, 3, 9, 12, generator=random, dtype=dtype)
    corners = torch.rand(6, 2, generator=random, dtype=dtype) * 25
    sizes = torch.rand(6, 2, generator=random, dtype=dtype) * 25 + 1
    image = torch.tensor([0, 1, 1, 0, 1, 0], dtype=dtype)[:, None]
    rois = torch.cat([image, corners, corners + sizes], dim=1)
    odd = [[1, 5, 5, 5.5, 5.2], [0, -20, -10, 15, 9], [1, 90, 90, 99, 99]]
    return features, torch.cat([rois, torch.tensor(odd, dtype=dtype)])


@pytest.mark.parametrize(("mode", "aligned", "ratio", "size"), CASES)
def test_equals_compiled_mmcv(parity, device, mode, aligned, ratio, size):
    name = f"roi_align/{mode}_aligned{aligned}_sr{ratio}_out{size}"
    features = parity("feat").to(device).requires_grad_()
    pooled = ops.roi_align(
        features, parity("rois").to(device), size, 0.25, ratio, mode, bool(aligned)
    )
    torch.testing.assert_close(pooled.detach().cpu(), parity(f"{name}/output"), rtol=0, atol=1e-5)
    # The file's gradient is that of this weighted sum (recovered from its numbers).
    weight = torch.linspace(-1, 1, pooled.numel(), device=device).view_as(pooled)
    (pooled * weight).sum().backward()
    torch.testing.assert_close(features.grad.cpu(), parity(f"{name}/grad"), rtol=0, atol=1e-5)


def max_by_loop(features, rois, bins, scale, ratio, aligned):
    """The maximum over sampling points, one at a time, differentiable."""
    shift = 0.5 if aligned else 0.0
    height, width = features.shape[2:]
    pooled = []
    for image, *box in rois.tolist():
        x1, y1, x2, y2 = (value * scale - shift for value in box)
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        nx, ny = (ratio or int(-(-length // bins)) for length in (w, h))
        for i in range(bins):
            for j in range(bins):
                values = []
                for iy in range(ny):
                    for ix in range(nx):
                        y = y1 + (i + (iy + 0.5) / ny) * h / bins
                        x = x1 + (j + (ix + 0.5) / nx) * w / bins
                        if not (-1 <= y <= height and -1 <= x <= width):
                            values.append(torch.zeros_like(features[0, :, 0, 0]))
                            continue
                        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                        top, left = int(y), int(x)
                        down, right = min(top + 1, height - 1), min(left + 1, width - 1)
                        b, a = y - top, x - left
                        plane = features[int(image)]
                        values.append(
                            (1 - b) * ((1 - a) * plane[:, top, left] + a * plane[:, top, right])
                            + b * ((1 - a) * plane[:, down, left] + a * plane[:, down, right])
                        )
                pooled.append(torch.stack(values).amax(dim=0))
    return torch.stack(pooled).view(len(rois), bins, bins, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2, 3])
@pytest.mark.parametrize("limit", [1, 1 << 22])
def test_maximum_equals_the_loop(random, device, monkeypatch, aligned, ratio, limit):
    monkeypatch.setattr(ours, "GATHER_LIMIT", limit)  # 1: one region at a time
    features, rois = features_and_rois(random, torch.float64)
    expected_input = features.clone().requires_grad_()
    expected = max_by_loop(expected_input, rois, 3, 0.25, ratio, aligned)
    weight = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    (expected * weight).sum().backward()

    features = features.to(device).requires_grad_()
    pooled = ops.roi_align(features, rois.to(device), 3, 0.25, ratio, "max", aligned)
    (pooled * weight.to(device)).sum().backward()
    torch.testing.assert_close(pooled.detach().cpu(), expected.detach())
    torch.testing.assert_close(features.grad.cpu(), expected_input.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("rois_too", [True, False])
def test_half_precision_rounds_the_result_once(random, device, dtype, mode, rois_too):
    features, rois = (tensor.to(device) for tensor in features_and_rois(random))
    features = features.to(dtype).requires_grad_()
    rois = rois.to(dtype) if rois_too else rois
    pooled = ops.roi_align(features, rois, 7, 0.25, 0, mode, True)
    gradient = torch.randn(pooled.shape, generator=random).to(pooled)
    pooled.backward(gradient)

    wide = features.detach().float().requires_grad_()
    expected = ops.roi_align(wide, rois.float(), 7, 0.25, 0, mode, True)
    expected.backward(gradient.float())
    assert pooled.dtype == features.grad.dtype == dtype
    torch.testing.assert_close(pooled, expected.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(features.grad, wide.grad.to(dtype), rtol=0.01, atol=1e-6)


def test_full_precision_rois_are_not_rounded_on_half_precision_features(random):
    """At 1300 pixels bfloat16 would move a box by up to 4."""
    features = torch.randn(1, 2, 30, 340, generator=random).bfloat16()
    rois = torch.tensor([[0, 1301.0, 10, 1331.0, 80]])
    pooled = ops.roi_align(features, rois, 7, 0.25, 2, "avg", True).float()
    exact = ops.roi_align(features.float(), rois, 7, 0.25, 2, "avg", True)
    moved = ops.roi_align(features.float(), rois.bfloat16().float(), 7, 0.25, 2, "avg", True)
    assert (pooled - exact).abs().max() < 0.02 < (moved - exact).abs().max()


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_gradcheck(random, mode):
    features, rois = features_and_rois(random, torch.float64)
    features = features[:, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: ops.roi_align(x, rois, 3, 0.25, 2, mode, True), features, fast_mode=True
    )


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_strided_tensors(random, mode):
    features, rois = features_and_rois(random)
    expected_input = features.clone().requires_grad_()
    expected = ops.roi_align(expected_input, rois, 5, 0.25, 0, mode, True)
    gradient = torch.randn(expected.shape, generator=random)
    expected.backward(gradient)

    features = features.contiguous(memory_format=torch.channels_last).requires_grad_()
    rois = rois.repeat_interleave(2, dim=1)[:, ::2]
    pooled = ops.roi_align(features, rois, 5, 0.25, 0, mode, True)
    pooled.backward(gradient.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(features.grad, expected_input.grad)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_no_regions(device, mode):
    features = torch.randn(2, 3, 9, 12, device=device, requires_grad=True)
    pooled = ops.roi_align(features, torch.zeros(0, 5, device=device), 7, 0.25, 0, mode, True)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert not features.grad.any()


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_region_without_extent_pools_to_zero(mode):
    features = torch.ones(1, 2, 8, 8, requires_grad=True)
    pooled = ops.roi_align(features, torch.tensor([[0, 3.0, 3, 3, 3]]), 2, 1.0, 0, mode, True)
    pooled.sum().backward()
    assert not pooled.any()
    assert not features.grad.any()


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_deterministic_backward_equals_the_fast_one(random, monkeypatch, ratio, aligned):
    monkeypatch.setattr(ours, "DETERMINISTIC_CHUNK", 2)
    features, rois = features_and_rois(random)
    features.requires_grad_()
    pooled = ops.roi_align(features, rois, (5, 4), 0.25, ratio, "avg", aligned)
    gradient = torch.randn(pooled.shape, generator=random)
    (expected,) = torch.autograd.grad(pooled, features, gradient)
    axes = ours._axes(rois, (5, 4), 0.25, ratio, aligned)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ours.deterministic_average_backward(gradient, *axes, features.shape)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_deterministic_training_on_cuda(random, monkeypatch, mode):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    features, rois = (tensor.cuda() for tensor in features_and_rois(random))
    features.requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        ops.roi_align(features, rois, 7, 0.25, 0, mode, True).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert features.grad.any()


def test_mmdets_extractor_under_autocast(random, device):
    extractors = pytest.importorskip("mmdet.models.roi_heads.roi_extractors")
    layer = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}
    extractor = extractors.SingleRoIExtractor(layer, 3, [4, 8]).to(device)
    coarse = torch.randn(2, 3, 5, 6, generator=random).to(device).requires_grad_()
    fine, rois = (tensor.to(device) for tensor in features_and_rois(random))
    convolution = torch.nn.Conv2d(3, 3, 1).to(device)
    with torch.autocast(device, dtype=torch.bfloat16):
        pooled = extractor([convolution(fine), convolution(coarse)], rois)
        loss = pooled.float().square().mean()
    loss.backward()
    assert pooled.dtype == torch.bfloat16
    assert coarse.grad.dtype == torch.float32
    assert convolution.weight.grad.isfinite().all()
