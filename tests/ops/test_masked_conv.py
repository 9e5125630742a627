"""Masked convolution against torch's convolution and unfold."""

import sys

import pytest
import torch
import torch.nn.functional as F

from convnext_dense.errors import UserError

ops = pytest.importorskip("mmcv.ops")


def random_case(random, kernel, size=(7, 9)):
    conv = ops.MaskedConv2d(3, 4, kernel, padding=tuple(k // 2 for k in kernel))
    features = torch.randn(1, 3, *size, generator=random)
    return conv, features, torch.rand(1, *size, generator=random) > 0.6


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (5, 3)])
def test_equals_the_convolution_where_the_mask_is_set(random, device, kernel):
    conv, features, mask = (value.to(device) for value in random_case(random, kernel))
    with torch.no_grad():
        expected = conv(features) * mask
        torch.testing.assert_close(conv(features, mask), expected)
        torch.testing.assert_close(conv(features, mask.float() - 0.5), expected)  # > 0 is chosen


def test_columns_equal_unfold(random, device):
    features = torch.randn(1, 3, 6, 5, generator=random, dtype=torch.float64).to(device)
    rows, columns = torch.cartesian_prod(torch.arange(6), torch.arange(5)).to(device).unbind(1)
    found = features.new_zeros(3 * 9, 30)
    sys.modules["mmcv._ext"].masked_im2col_forward(
        features, rows, columns, found, kernel_h=3, kernel_w=3, pad_h=1, pad_w=1
    )
    torch.testing.assert_close(found, F.unfold(features, 3, padding=1)[0], rtol=0, atol=0)


def test_nothing_is_chosen(random, device):
    conv, features, mask = (value.to(device) for value in random_case(random, (3, 3)))
    assert not conv(features, torch.zeros_like(mask)).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(random, device, dtype):
    conv, features, mask = random_case(random, (3, 3))
    conv, features, mask = conv.to(device, dtype), features.to(device, dtype), mask.to(device)
    with torch.no_grad():
        result, expected = conv(features, mask), conv(features) * mask
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("outside", [(4, 0), (0, 4)])
def test_pixels_outside_of_the_output(random, outside):
    """Without padding the output is smaller than the mask."""
    conv = ops.MaskedConv2d(3, 4, 3)
    features = torch.randn(1, 3, 6, 6, generator=random)
    mask = torch.zeros(1, 6, 6)
    mask[:, :4, :4] = 1
    with torch.no_grad():
        torch.testing.assert_close(conv(features, mask), conv(features))
    mask[(0, *outside)] = 1
    with pytest.raises(UserError, match="outside of its 4 x 4 output"):
        conv(features, mask)
