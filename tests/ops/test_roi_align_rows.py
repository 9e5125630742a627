"""RoIAlign by rows against torchvision's kernels: values, gradients, odd boxes."""

import pytest
import torch
import torchvision

from convnext_dense.ops.roi_align_rows import roi_align_rows


def odd_boxes() -> torch.Tensor:
    """(40, 5): ordinary boxes, and some outside, over the border, tiny, inverted and doubled."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(40, 2, generator=generator) * 150 - 20
    size = torch.rand(40, 2, generator=generator) ** 2 * 120
    boxes = torch.cat([torch.arange(40)[:, None] % 3, corner, corner + size], dim=1)
    boxes[3, 1:] += 1000
    boxes[4, 3:] = boxes[4, 1:3]
    boxes[5, 1:] = boxes[5, [3, 4, 1, 2]]
    boxes[6] = boxes[7]
    return boxes


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("bins", [(7, 7), (3, 14)])
def test_values_and_gradients_are_torchvisions(bins, ratio, aligned):
    torch.manual_seed(1)
    ours = torch.randn(3, 5, 33, 27).to(memory_format=torch.channels_last).requires_grad_()
    theirs = ours.detach().contiguous().requires_grad_()
    settings = (bins, 0.25, ratio, aligned)
    found = roi_align_rows(ours, odd_boxes(), *settings)
    expected = torchvision.ops.roi_align(theirs, odd_boxes(), *settings)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6, check_stride=False)
    gradient = torch.randn(expected.shape)
    found.backward(gradient)
    expected.backward(gradient)
    # A pixel sums up to hundreds of shares, in another order.
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-4, check_stride=False)
    assert theirs.grad.abs().max() > 5


def test_no_boxes_give_no_regions_and_a_gradient_of_zero():
    features = torch.randn(1, 4, 8, 8, requires_grad=True)
    found = roi_align_rows(features, torch.zeros(0, 5), (7, 7), 0.25, 1, True)
    assert found.shape == (0, 4, 7, 7)
    found.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_a_box_that_is_not_finite_reads_nan():
    """Diverged steps are dropped later by their loss: they must not end here."""
    boxes = torch.tensor([[0.0, float("nan"), 1, 20, 20], [0, 1, 1, 20, 20]])
    found = roi_align_rows(torch.ones(1, 4, 8, 8), boxes, (7, 7), 0.25, 1, True)
    assert found[0].isnan().all() and found[1].isfinite().all()
