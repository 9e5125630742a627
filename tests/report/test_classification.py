"""A classifier's results against numbers by hand, from the metric that writes them."""

import json

import numpy as np
import pytest
import torch

from convnext_dense.classification import ClassificationMetric
from convnext_dense.report.classification import analyse_results
from convnext_dense.report.findings import Confusion, best_and_worst, precision_recall
from convnext_dense.runs.saved_runs import read_runs
from tests.report.conftest import write_picture, write_test

CLASSES = ("cat", "dog", "owl")
LABELS = [0, 0, 1, 1, 2, 2]
LOGITS = [[4, 0, 0], [0, 1, 0], [0, 3, 0], [0, 2, 0], [0, 5, 0], [0, 0, 1.5]]  # 4 right


@pytest.fixture
def folder(tmp_path):
    """A test whose results the metric wrote."""
    out = tmp_path / "test/results.json"
    metric = ClassificationMetric(outfile=str(out))
    metric.dataset_meta = dict(classes=CLASSES)
    rows = []
    for number, (logits, label) in enumerate(zip(LOGITS, LABELS, strict=True)):
        path = tmp_path / f"data/{number}.png"
        write_picture(path, number)
        logits = torch.tensor(logits, dtype=torch.float)
        rows.append(dict(logits=logits, label=torch.tensor(label), path=str(path)))
    metric.process(None, rows)
    figures = metric.evaluate(len(rows))
    config = dict(
        default_scope="mmengine",
        test_dataloader=dict(dataset=dict(metainfo=dict(classes=CLASSES))),
    )
    write_test(out.parent, config, {"top1": figures["cls/top1"]}, None)
    return out.parent


def read(folder):
    ((test,),) = [run.tests for run in read_runs([folder])]
    return analyse_results(test, test.results)


def test_written_probabilities(folder):
    rows = json.loads((folder / "results.json").read_text())
    e = np.exp(4.0)
    assert rows[0]["score"] == pytest.approx(e / (e + 2))
    assert rows[0]["class_score"] == pytest.approx(rows[0]["score"])
    assert rows[1]["class_score"] == pytest.approx(1 / (np.e + 2))
    assert (rows[1]["class"], rows[1]["predicted"]) == ("cat", "dog")


def test_confusion_and_curve_by_hand(folder):
    found = read(folder)
    assert found.notes == []
    assert found.confusion.counts.tolist() == [[1, 1, 0], [0, 2, 0], [0, 1, 1]]
    assert found.confusion.mistakes(5)[0][2:] == (1, 0.5)
    ((_, (every, cat, dog, owl)),) = found.curves
    # by score: owl as dog (wrong), cat, dog, dog, owl, cat as dog (wrong)
    assert every.xs == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 4 / 6])
    assert every.ys == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4, 4 / 5, 4 / 6])
    assert (dog.xs, dog.ys) == (
        pytest.approx([0, 0.5, 1, 1]),
        pytest.approx([0, 1 / 2, 2 / 3, 0.5]),
    )
    assert (cat.xs, cat.ys) == ([0.5], [1]) and (owl.xs, owl.ys) == ([0.5], [1])


def test_best_and_worst_pictures(folder):
    found = read(folder)
    assert len(found.best) == 4 and found.best[0].caption.startswith("cat (0.9")
    assert [one.caption[:10] for one in found.worst] == ["dog (0.99)", "dog (0.58)"]
    assert "truth: owl (0.01)" in found.worst[0].caption


def test_pictures_that_are_gone(folder):
    for path in (folder.parent / "data").iterdir():
        path.unlink()
    found = read(folder)
    assert not found.best and "cannot be read as files here" in found.notes[0]
    assert found.curves and found.confusion


def test_results_of_another_test(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "top1": 0.125}))
    assert "to different tests" in read(folder).notes[0]


def test_results_without_probabilities_and_torn_ones(folder, render):
    rows = json.loads((folder / "results.json").read_text())
    old = [{key: row[key] for key in ("path", "class", "predicted")} for row in rows]
    (folder / "results.json").write_text(json.dumps(old))
    assert "test again" in render(folder).text
    (folder / "results.json").write_text(json.dumps(rows)[:-40])
    assert "results.json cannot be read as results of classification" in render(folder).text


def test_precision_recall_of_random_scores():
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 10, 60) / 10, rng.random(60) < 0.6
    recall, precision = precision_recall(scores, right, 50)
    for threshold, r, p in zip(sorted(set(scores), reverse=True), recall, precision, strict=True):
        kept = scores >= threshold
        assert r == pytest.approx(right[kept].sum() / 50) and p == pytest.approx(right[kept].mean())
    assert len(precision_recall(np.zeros(0), np.zeros(0, bool), 3)[0]) == 0


def test_small_helpers():
    empty = Confusion(["a"], ["a"], np.zeros((1, 1), int), "x", "")
    assert empty.shares.tolist() == [[0]] and empty.mistakes(3) == []
    assert best_and_worst([1, 2, 3], float, 4) == ([3], [1])
    assert best_and_worst([1], float, 4) == ([1], [])
    assert best_and_worst([], float, 4) == ([], [])
