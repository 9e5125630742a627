"""Focal losses against their formulas, by autograd in float64."""

import pytest
import torch
import torch.nn.functional as F
import torchvision

ops = pytest.importorskip("mmcv.ops")
CLASSES = 5
WEIGHTS = torch.tensor([0.3, 1.0, 2.5, 0.7, 1.9], dtype=torch.float64)


def logits_and_targets(random, background=True):
    logits = torch.randn(40, CLASSES, generator=random, dtype=torch.float64) * 3
    classes = CLASSES + 1 if background else CLASSES
    return logits, torch.randint(0, classes, (40,), generator=random)


def sigmoid_formula(logits, target, gamma, alpha):
    p = logits.sigmoid()
    positive = F.one_hot(target, CLASSES + 1)[:, :CLASSES].bool()
    return torch.where(
        positive,
        -alpha * (1 - p) ** gamma * p.log(),
        -(1 - alpha) * p**gamma * (1 - p).log(),
    )


def softmax_formula(logits, target, gamma, alpha):
    p = logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
    return -alpha * (1 - p) ** gamma * p.log()


def assert_same_loss_and_gradient(loss, logits, expected, expected_logits):
    torch.testing.assert_close(
        loss.detach().cpu().double(), expected.detach(), rtol=1e-5, atol=1e-7
    )
    loss.backward()
    expected.backward()
    torch.testing.assert_close(
        logits.grad.cpu().double(), expected_logits.grad, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.8)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sigmoid_loss(random, device, dtype, gamma, alpha, reduction):
    exact, target = logits_and_targets(random)
    expected_logits = exact.clone().requires_grad_()
    expected = sigmoid_formula(expected_logits, target, gamma, alpha).sum()
    if reduction == "mean":
        expected = expected / len(target)
    logits = exact.to(device, dtype).requires_grad_()
    loss = ops.SigmoidFocalLoss(gamma, alpha, None, reduction)(logits, target.to(device))
    assert_same_loss_and_gradient(loss, logits, expected, expected_logits)


def test_sigmoid_loss_weighs_rows_by_their_class(random, device):
    exact, target = logits_and_targets(random)
    row_weight = torch.cat([WEIGHTS, torch.ones(1)])[target]  # background: 1
    expected_logits = exact.clone().requires_grad_()
    expected = (sigmoid_formula(expected_logits, target, 2.0, 0.25) * row_weight[:, None]).sum()
    logits = exact.float().to(device).requires_grad_()
    criterion = ops.SigmoidFocalLoss(2.0, 0.25, WEIGHTS.float(), "sum").to(device)
    loss = criterion(logits, target.to(device))
    assert_same_loss_and_gradient(loss, logits, expected, expected_logits)


def test_sigmoid_loss_equals_torchvision(random, device):
    exact, target = logits_and_targets(random)
    logits = exact.float().to(device)
    one_hot = F.one_hot(target, CLASSES + 1)[:, :CLASSES].to(logits)
    torch.testing.assert_close(
        ops.sigmoid_focal_loss(logits, target.to(device), 2.0, 0.25, None, "none"),
        torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha=0.25, gamma=2.0),
    )


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (0.5, 1.0)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_softmax_loss(random, device, weight, gamma, alpha, reduction):
    exact, target = logits_and_targets(random, background=False)
    expected_logits = exact.clone().requires_grad_()
    expected = softmax_formula(expected_logits, target, gamma, alpha)
    expected = expected if weight is None else expected * weight[target]
    expected = expected.sum() / (len(target) if reduction == "mean" else 1)
    logits = exact.to(device).requires_grad_()
    criterion = ops.SoftmaxFocalLoss(gamma, alpha, weight, reduction).to(device)
    loss = criterion(logits, target.to(device))
    assert_same_loss_and_gradient(loss, logits, expected, expected_logits)


def test_softmax_loss_ignores_rows_without_a_class(random, device):
    exact, target = logits_and_targets(random, background=False)
    target[::3] = -1
    expected_logits = exact.clone().requires_grad_()
    rows = target >= 0
    expected = softmax_formula(expected_logits[rows], target[rows], 2.0, 0.25).sum()
    logits = exact.to(device).requires_grad_()
    loss = ops.softmax_focal_loss(logits, target.to(device), 2.0, 0.25, None, "sum")
    assert_same_loss_and_gradient(loss, logits, expected, expected_logits)


def test_confident_logits_stay_exact_and_finite():
    logits = torch.tensor([[40.0, -40.0], [-200.0, 200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1, 0]), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss.detach(), torch.tensor([[30.0, 10.0], [50.0, 150.0]]))
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.75, -0.25], [-0.25, 0.75]]))

    logits = torch.tensor([[300.0, 0.0], [300.0, 0.0]], requires_grad=True)
    loss = ops.softmax_focal_loss(logits, torch.tensor([0, 1]), 0.5, 0.25, None, "sum")
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["sigmoid_focal_loss", "softmax_focal_loss"])
def test_half_precision(random, device, dtype, name):
    exact, target = logits_and_targets(random, background=False)
    logits = exact.to(device, dtype).requires_grad_()
    loss = getattr(ops, name)(logits, target.to(device), 2.0, 0.25, None, "mean")
    loss.backward()
    wide = logits.detach().double().requires_grad_()
    expected = getattr(ops, name)(wide, target.to(device), 2.0, 0.25, None, "mean")
    expected.backward()
    assert loss.dtype == logits.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), expected, rtol=0.02, atol=0)
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", "softmax_focal_loss"])
def test_no_rows(device, name):
    logits = torch.zeros(0, CLASSES, device=device, requires_grad=True)
    target = torch.zeros(0, dtype=torch.long, device=device)
    loss = getattr(ops, name)(logits, target, 2.0, 0.25, None, "sum")
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (0, CLASSES)
