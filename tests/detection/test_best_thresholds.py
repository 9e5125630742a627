"""The thresholds with the highest F1 against searches through all of them."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.detection.best_thresholds import (
    find_best_threshold,
    read_best_thresholds,
    to_plain,
)
from convnext_dense.detection.coco_eval import evaluate_coco
from convnext_dense.errors import UserError
from tests.detection.test_coco_eval import CATEGORIES, make

IMAGES = list(range(1, 11))
rows = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.35, 0.6, 0.9]), st.booleans()), max_size=12)


@given(rows, st.integers(0, 5))
def test_no_threshold_is_better(rows, missed):
    scores = np.array([score for score, _ in rows], np.float32)
    correct = np.array([hit for _, hit in rows], bool)
    positives = int(correct.sum()) + missed
    best = find_best_threshold(scores, correct, positives)
    figures = {}
    for threshold in np.linspace(0, 1, 201):
        kept = scores >= np.float32(threshold)
        figures[threshold] = f1_of(correct[kept].sum(), kept.sum(), positives)
    if not correct.any():
        assert best is None and max(figures.values()) == 0
        return
    assert best.f1 == pytest.approx(max(figures.values()))
    kept = scores >= best.threshold
    assert best.precision == pytest.approx(correct[kept].mean())
    assert best.recall == pytest.approx(correct[kept].sum() / positives)
    assert best.f1 == pytest.approx(f1_of(correct[kept].sum(), kept.sum(), positives))
    assert best.threshold >= min(scores)  # and of several the highest, up to halfway to the next
    higher = [t for t, f1 in figures.items() if t > best.threshold and f1 >= best.f1 - 1e-9]
    assert all((scores >= np.float32(t)).sum() == kept.sum() for t in higher)


def f1_of(hits: int, found: int, positives: int) -> float:
    precision, recall = hits / max(found, 1), hits / max(positives, 1)
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def search(truth: dict, results: list[dict], task: str) -> dict[int, float]:
    """The highest F1 of each category: pycocotools on the results that each threshold leaves."""
    best = dict.fromkeys(CATEGORIES, 0.0)
    for threshold in sorted({result["score"] for result in results}):
        kept = [result for result in results if result["score"] >= threshold]
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = truth
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(kept), task)
            evaluation.params.imgIds, evaluation.params.catIds = IMAGES, list(CATEGORIES)
            evaluation.params.iouThrs = np.array([0.5])
            evaluation.evaluate()
        everything = evaluation.params.areaRng[0]
        of_all_sizes = [e for e in evaluation.evalImgs if e and e["aRng"] == everything]
        for category in CATEGORIES:
            mine = [e for e in of_all_sizes if e["category_id"] == category]
            counted = [~e["dtIgnore"][0] for e in mine]
            hits = sum((e["dtMatches"][0][c] > 0).sum() for e, c in zip(mine, counted, strict=True))
            positives = sum((np.array(e["gtIgnore"]) == 0).sum() for e in mine)
            f1 = f1_of(hits, sum(c.sum() for c in counted), positives)
            best[category] = max(best[category], f1)
    return best


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize(("seed", "crowds"), [(0, False), (1, True)])
def test_equals_a_search_with_pycocotools(task, seed, crowds):
    truth, results = make(seed)
    if crowds:
        for annotation in truth["annotations"][::3]:
            annotation["iscrowd"] = 1
    found = evaluate_coco(truth, results, task, IMAGES, CATEGORIES, True).best_thresholds
    expected = search(truth, results, task)
    assert list(found) == list(CATEGORIES)
    assert {c: best.f1 if best else 0 for c, best in found.items()} == pytest.approx(expected)
    assert found[90] is None and any(best and 0 < best.f1 < 1 for best in found.values())


def test_only_the_best_hundred_of_an_image_count():
    """As in COCO's precision: what it leaves out is neither right nor wrong."""
    box, elsewhere = [10.0, 10.0, 50.0, 50.0], [80.0, 80.0, 9.0, 9.0]
    truth = dict(
        images=[dict(id=1, width=120, height=120)],
        categories=[dict(id=3, name="3")],
        annotations=[dict(id=1, image_id=1, category_id=3, bbox=box, area=2500, iscrowd=0)],
    )
    wrong = [
        dict(image_id=1, category_id=3, bbox=elsewhere, score=0.9 - n / 1000) for n in range(100)
    ]
    right = dict(image_id=1, category_id=3, bbox=box, score=0.1)
    assert evaluate_coco(truth, [*wrong, right], "bbox", [1], [3], True).best_thresholds[3] is None
    found = evaluate_coco(truth, [*wrong[1:], right], "bbox", [1], [3], True).best_thresholds[3]
    assert found.precision == 0.01 and found.threshold == 0.1


CLASSES = ("cup", "pen")
STORED = {"cup": {"threshold": 0.4, "f1": 0.5, "precision": 0.5, "recall": 0.5}}


def test_read_from_a_checkpoint_and_from_a_work_folder(tmp_path):
    content = {"meta": {"best_thresholds": STORED}}
    assert read_best_thresholds(content, CLASSES, "x") == {"cup": 0.4}
    (tmp_path / "metrics.json").write_text(json.dumps({"best_thresholds": STORED}))
    assert read_best_thresholds({"meta": {}}, CLASSES, "x", tmp_path) == {"cup": 0.4}
    other = {"meta": {"best_thresholds": {"pen": {"threshold": 0.7}}}}
    assert read_best_thresholds(other, CLASSES, "x", tmp_path) == {"pen": 0.7}


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({}, "There are no best thresholds in x: the evaluation"),
        (None, "There are no best thresholds in x"),
        ({"dog": {"threshold": 0.4}}, "the model has no dog"),
        ({"cup": {"threshold": None}}, "cannot be read"),
        ({"cup": 0.4}, "cannot be read"),
        ([1], "cannot be read"),
    ],
)
def test_thresholds_that_cannot_be_used(stored, said, tmp_path):
    with pytest.raises(UserError, match=said):
        read_best_thresholds({"meta": {"best_thresholds": stored}}, CLASSES, "x", tmp_path)


def test_a_class_that_was_never_found_is_left_out():
    best = find_best_threshold(np.array([0.5]), np.array([True]), 2)
    assert list(to_plain({"cup": best, "pen": None})) == ["cup"]
