"""Figures, targets and averages against hand-computed ones; two processes count once."""

import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from convnext_dense.classification import (
    ClassificationMetric,
    ClassificationPreprocessor,
    ImageClassifier,
)
from convnext_dense.engine.weight_averaging import PairedEvaluator, WeightAverageHook
from convnext_dense.errors import UserError
from tests.classification.conftest import ROOT


def evaluate(logits: torch.Tensor, labels: torch.Tensor, classes: int, batch: int = 3) -> dict:
    metric = ClassificationMetric()
    metric.dataset_meta = dict(classes=tuple(f"c{i}" for i in range(classes)))
    samples = [
        dict(logits=row, label=label, path="") for row, label in zip(logits, labels, strict=True)
    ]
    for start in range(0, len(samples), batch):
        metric.process(None, samples[start : start + batch])
    return metric.evaluate(len(samples))


def test_figures_are_the_hand_computed_ones():
    logits = torch.tensor(
        [
            [9.0, 8, 7, 6, 5, 4, 3],  # label 0: first
            [9.0, 8, 7, 6, 5, 4, 3],  # label 4: fifth
            [9.0, 8, 7, 6, 5, 4, 3],  # label 5: sixth
            [0.0, 0, 0, 0, 0, 0, 9],  # label 6: first
        ]
    )
    labels = torch.tensor([0, 4, 5, 6])
    figures = evaluate(logits, labels, 7)
    assert figures["cls/top1"] == 0.5 and figures["cls/top5"] == 0.75
    assert figures["cls/pictures"] == 4
    by_hand = -sum(
        row[label] - math.log(sum(math.exp(v) for v in row))
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    )
    assert figures["cls/loss"] == pytest.approx(by_hand / 4, rel=1e-5)
    per_class = MessageHub.get_current_instance().get_info("per_class")
    assert per_class["c0"]["top1"] == 1 and per_class["c5"]["top1"] == 0
    assert per_class["c1"]["top1"] is None


def test_top5_of_few_classes_says_nothing_and_is_left_out():
    assert "cls/top5" not in evaluate(torch.randn(4, 5), torch.zeros(4, dtype=torch.long), 5)
    assert "cls/top5" in evaluate(torch.randn(4, 6), torch.zeros(4, dtype=torch.long), 6)
    assert math.isnan(evaluate(torch.zeros(0, 6), torch.zeros(0), 6)["cls/top1"])


def batch(count: int, labels=None) -> dict:
    torch.manual_seed(0)
    labels = torch.arange(count) % 4 if labels is None else labels
    inputs = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    return dict(inputs=inputs, targets=labels, paths=["p"] * count, unreadable=[])


def test_targets_are_smoothed():
    data = batch(4)
    out = ClassificationPreprocessor(4, label_smoothing=0.1)(data, training=True)
    expected = F.one_hot(data["targets"], 4) * 0.9 + 0.1 / 4
    assert torch.allclose(out["targets"], expected.float())
    logits = torch.randn(4, 4)
    assert F.cross_entropy(logits, out["targets"]) == pytest.approx(
        F.cross_entropy(logits, data["targets"], label_smoothing=0.1).item()
    )
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    assert torch.allclose(out["inputs"], (data["inputs"] - mean) / std)


def test_mixup_and_cutmix_mix_pictures_and_targets_alike():
    data = batch(8)
    plain = ClassificationPreprocessor(4)(data, training=True)
    kinds = set()
    for seed in range(8):
        torch.manual_seed(seed)
        np.random.seed(seed)
        mixing = ClassificationPreprocessor(4, mixup=0.8, cutmix=1.0)
        out = mixing(data, training=True)
        own, other = plain["inputs"], plain["inputs"].flip(0)
        # share of the image itself, from the targets (0 and its partner 7 differ: 0 and 3)
        share = out["targets"][0, 0]
        assert torch.allclose(out["targets"].sum(1), torch.ones(8))
        if torch.allclose(out["inputs"], share * own + (1 - share) * other, atol=1e-5):
            kinds.add("mixup")
        else:
            same = (out["inputs"] == own).all(1).float().mean().item()
            assert same == pytest.approx(share.item(), abs=1e-6)
            kinds.add("cutmix")
    assert kinds == {"mixup", "cutmix"}
    assert torch.equal(
        mixing(data, training=False)["targets"], data["targets"]
    )  # no mixing in a test
    with pytest.raises(UserError, match="it has 7"):
        mixing(batch(7), training=True)


def test_erasing_makes_noise_of_rectangles():
    data = batch(64)
    random.seed(0)
    out = ClassificationPreprocessor(4, erasing=0.25)(data, training=True)
    plain = ClassificationPreprocessor(4)(data, training=True)
    changed = (out["inputs"] != plain["inputs"]).flatten(1).any(1)
    assert 6 <= changed.sum() <= 26


class Linear(nn.Module):
    num_classes = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return self.layer(x.mean(dim=(2, 3)))


class FakeRunner:
    """What the hook needs of a runner."""

    _resume = False
    _train_loop = object()
    cfg = None
    hooks = ()

    def __init__(self, model, accumulate: int):
        self.model = model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        self.optim_wrapper = OptimWrapper(optimizer, accumulative_counts=accumulate)
        self.optim_wrapper.initialize_count_status(model, 0, 6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_moves_once_a_step(accumulate):
    torch.manual_seed(0)
    model = Linear()
    runner, hook = FakeRunner(model, accumulate), WeightAverageHook(decay=0.9)
    hook.before_train(runner)
    expected = model.layer.weight.detach().clone()
    for number in range(6):
        before = model.layer.weight.detach().clone()
        loss = model(torch.randn(2, 3, 4, 4)).square().mean()
        runner.optim_wrapper.update_params(loss)
        hook.after_train_iter(runner, number)
        if not torch.equal(before, model.layer.weight):
            expected = 0.9 * expected + 0.1 * model.layer.weight.detach()
    assert torch.allclose(hook.model.layer.weight, expected, atol=1e-7)
    assert not torch.allclose(expected, model.layer.weight, atol=1e-3)
    checkpoint = dict(meta={})
    hook.gather(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    assert torch.equal(checkpoint["state_dict_ema"]["layer.weight"], hook.model.layer.weight)
    # starting weights bring no average, a resumed run does
    fresh = WeightAverageHook(decay=0.9)
    fresh.after_load_checkpoint(runner, checkpoint)
    fresh.before_train(runner)
    assert torch.equal(fresh.model.layer.weight, model.layer.weight)
    runner._resume = True
    fresh.after_load_checkpoint(runner, checkpoint)
    fresh.before_train(runner)
    assert torch.equal(fresh.model.layer.weight, hook.model.layer.weight)


class Fixed:
    """An evaluator that returns what it was last given."""

    def process(self, data_samples, data_batch=None):
        self.given = data_samples

    def evaluate(self, size):
        return {"cls/top1": self.given}


def test_both_weights_have_figures():
    both = PairedEvaluator(Fixed())
    both.process(0.5)
    assert both.evaluate(1) == {"cls/top1": 0.5}
    both.process_average(0.7)
    assert both.evaluate(1) == {"cls/top1": 0.5, "cls/top1_ema": 0.7}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_clipped_in_float32_and_with_accumulation(accumulate):
    torch.manual_seed(0)
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulate, clip_grad=dict(max_norm=1e-3))
    wrapper.initialize_count_status(model, 0, 2)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    for _ in range(accumulate):
        wrapper.update_params(100 * model(torch.randn(2, 3, 4, 4)).square().sum())
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.both_paths(slow=True, taken=False)
@pytest.mark.parametrize("kind", ["ConvNeXtClassifier", "TimmModel"])
def test_modes_of_the_classifier(kind):
    tiny = dict(arch=dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)))
    network = dict(name="test_convnext") if kind == "TimmModel" else tiny
    model = ImageClassifier(
        dict(type=kind, num_classes=4, **network), dict(type="ClassificationPreprocessor")
    )
    data = batch(4)
    data["inputs"] = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    model.train()
    inputs = model.data_preprocessor(data, True)
    loss = model(**inputs, mode="loss")["loss"]
    logits = model(inputs["inputs"])
    assert logits.shape == (4, 4)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, data["targets"]).item())
    model.eval()
    rows = model.val_step(data)
    assert [int(row["label"]) for row in rows] == data["targets"].tolist()
    assert model.val_step({**data, "inputs": data["inputs"][:0]}) == []
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


TWO = """
import sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
import convnext_dense.classification as c
rank = dist.get_rank()
torch.manual_seed(0)
logits, labels = torch.randn(11, 7), torch.arange(11) % 7
def metric():
    m = c.ClassificationMetric()
    m.dataset_meta = dict(classes=[str(i) for i in range(7)])
    return m
def feed(m, indices):
    m.process(None, [dict(logits=logits[i], label=labels[i], path="") for i in indices])
    return m.evaluate(11)
sampler = c.ImageSampler(list(range(11)), shuffle=False, seed=0)
share = list(sampler)
assert len(share) == (6, 5)[rank], share
figures = feed(metric(), share)
assert figures["cls/pictures"] == 11
right = (logits.argmax(1) == labels).double().mean().item()
assert abs(figures["cls/top1"] - right) < 1e-12, (figures, right)
"""


@pytest.mark.slow
def test_two_processes_count_every_picture_once(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(tmp_path / "two.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
