"""PSANet's attention maps against a loop over pixels; gradients in float64."""

import pytest
import torch

ops = pytest.importorskip("mmcv.ops")


def attention_by_loop(masks, kind, mask_size):
    """Where each value of each pixel's mask goes, one at a time."""
    count, _, height, width = masks.shape
    maps = torch.zeros(count, height, width, height, width, dtype=masks.dtype)
    masks = masks.view(count, *mask_size, height, width)
    for h, w, y, x in torch.cartesian_prod(
        *map(torch.arange, (height, width, *mask_size))
    ).tolist():
        i, j = y + h - (mask_size[0] - 1) // 2, x + w - (mask_size[1] - 1) // 2
        if 0 <= i < height and 0 <= j < width:
            place = (i, j, h, w) if kind == "collect" else (h, w, i, j)
            maps[(slice(None), *place)] = masks[:, y, x, h, w]
    return maps.flatten(1, 2)


# (4, 4) on 8 x 8 is the case of mmcv's suite; the others are larger than the map, and uneven.
CASES = [((4, 4), (8, 8)), ((7, 5), (4, 3)), ((3, 9), (5, 4)), ((1, 1), (2, 3))]


@pytest.mark.parametrize("kind", ["collect", "distribute"])
@pytest.mark.parametrize(("mask_size", "size"), CASES)
def test_equals_the_loop(random, device, kind, mask_size, size):
    masks = torch.randn(2, mask_size[0] * mask_size[1], *size, generator=random)
    # Not contiguous, as a permuted convolution's output may be.
    masks = masks.to(memory_format=torch.channels_last)
    result = ops.PSAMask(kind, mask_size)(masks.to(device)).cpu()
    expected = attention_by_loop(masks.contiguous(), kind, mask_size)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["collect", "distribute"])
@pytest.mark.parametrize(("mask_size", "size"), CASES[1:])
def test_gradcheck(random, device, kind, mask_size, size):
    masks = torch.randn(
        2, mask_size[0] * mask_size[1], *size, generator=random, dtype=torch.float64
    )
    masks = masks.to(device).requires_grad_()
    assert torch.autograd.gradcheck(ops.PSAMask(kind, mask_size), masks, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_exact(random, device, dtype):
    masks = torch.randn(1, 15, 4, 3, generator=random).to(device, dtype).requires_grad_()
    result = ops.PSAMask("distribute", (3, 5))(masks)
    result.sum().backward()
    expected = ops.PSAMask("distribute", (3, 5))(masks.detach().float())
    assert result.dtype == masks.grad.dtype == dtype
    torch.testing.assert_close(result.float(), expected, rtol=0, atol=0)


def test_empty_batch(device):
    masks = torch.zeros(0, 9, 4, 4, device=device, requires_grad=True)
    result = ops.PSAMask("collect", (3, 3))(masks)
    assert result.shape == (0, 16, 4, 4)
    result.sum().backward()
    assert masks.grad.shape == masks.shape
