"""The balanced loss against numbers computed pixel by pixel."""

import pytest
import torch

from convnext_dense.errors import UserError
from convnext_dense.segmentation.losses import BalancedCrossEntropy


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_rare_classes_count_more_and_ignored_pixels_not_at_all(power):
    torch.manual_seed(0)
    scores = torch.randn(2, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 10, (2, 4, 5)).clamp(max=2)  # class 3 never occurs, class 2 often
    label[0, :2] = 255
    loss = BalancedCrossEntropy(power, loss_weight=2.0)(scores, label)
    counted = [int(true) for true in label.ravel() if true != 255]
    total, weights = 0.0, 0.0
    for picture in range(2):
        for row in range(4):
            for column in range(5):
                true = int(label[picture, row, column])
                if true != 255:
                    probability = scores[picture, :, row, column].softmax(dim=0)[true]
                    weight = (counted.count(true) / len(counted)) ** -power
                    total, weights = total - weight * probability.log(), weights + weight
    torch.testing.assert_close(loss, 2 * total / weights)
    loss.backward()
    assert scores.grad[0, :, :2].abs().max() == 0 and scores.grad[0, :, 2:].abs().min() > 0


def test_a_batch_without_counted_pixels_gives_zero():
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = BalancedCrossEntropy()(scores, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss == 0 and torch.isfinite(scores.grad).all()


def test_wrong_use_is_one_sentence():
    with pytest.raises(UserError, match=r"in \[0, 1\], got 2"):
        BalancedCrossEntropy(2)
    with pytest.raises(UserError, match="does not support a pixel sampler"):
        BalancedCrossEntropy()(
            torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1).long(), weight=torch.ones(1, 1, 1)
        )
