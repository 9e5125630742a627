"""The benchmark of the evaluation: generated results, equal metrics before timing, the tool."""

import json
import sys

import numpy as np
import pytest
from pycocotools import mask as mask_api

from convnext_dense.benchmark import coco_evaluation
from convnext_dense.benchmark.synthetic_coco import CATEGORY_IDS, DETECTIONS, OBJECTS, generate
from convnext_dense.benchmark.throughput import FIELDS
from convnext_dense.cli.main import open_tool
from convnext_dense.detection import coco_eval
from convnext_dense.errors import UserError

IMAGES = 8


@pytest.fixture(scope="module")
def made():
    return generate(IMAGES)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the tool with a command line; returns its output."""

    def call(line):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *line.split()])
        open_tool("benchmark")
        return capsys.readouterr().out

    return call


def test_generated_results_are_of_cocos_kind(made):
    many = generate(60, seed=1)
    assert len(many.ground_truth["annotations"]) / 60 == pytest.approx(OBJECTS, rel=0.3)
    assert np.mean([len(one["labels"]) for one in many.results]) == pytest.approx(DETECTIONS, 0.2)
    assert max(CATEGORY_IDS) > len(CATEGORY_IDS) == len(many.classes) == 80  # gaps
    images = made.ground_truth["images"]
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    for result in made.results:
        assert np.all(np.diff(result["scores"]) <= 0)
        masks = [{**mask, "counts": mask["counts"].encode()} for mask in result["masks"]]
        assert {tuple(mask["size"]) for mask in masks} == {sizes[result["img_id"]]}
        drawn = np.array([mask_api.toBbox(mask) for mask in masks])
        drawn[:, 2:] += drawn[:, :2]
        # The pixels of a shape start within a pixel of its corners, except for slivers.
        assert np.median(np.abs(drawn - result["bboxes"])) < 0.7


def test_the_same_seed_gives_the_same_results(made):
    again, other = generate(IMAGES), generate(IMAGES, seed=1)
    same, first, different = (json.dumps(data.ground_truth) for data in (again, made, other))
    assert same == first != different
    assert [one["masks"] for one in again.results] == [one["masks"] for one in made.results]


@pytest.mark.parametrize("task", coco_evaluation.TASKS)
def test_the_metrics_equal_pycocotools(made, tmp_path, task):
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(made.ground_truth))
    ours = coco_evaluation.evaluate_with_ours(made.results, file, made.classes, task)
    np.testing.assert_allclose(
        ours, coco_evaluation.evaluate_with_pycocotools(made.results, file, task), atol=1e-6
    )
    assert ours.shape == (92,) and 0 < ours[0] < 1
    assert np.isnan(ours).any() and (~np.isnan(ours[12:])).sum() > 8


@pytest.mark.parametrize("index", [0, 40])
def test_nothing_is_timed_when_the_metrics_differ(monkeypatch, index):
    real = coco_evaluation.evaluate_with_ours

    def wrong(*args):
        metrics = real(*args)
        metrics[index] = 0.123
        return metrics

    monkeypatch.setattr(coco_evaluation, "evaluate_with_ours", wrong)
    monkeypatch.setattr(coco_evaluation, "run_rounds", lambda *_: pytest.fail("timed"))
    with pytest.raises(UserError, match="bbox metrics differ"):
        coco_evaluation.measure(IMAGES, 1)


def test_rows(monkeypatch):
    for name in ("evaluate_with_ours", "evaluate_with_pycocotools"):
        monkeypatch.setattr(coco_evaluation, name, lambda *_: np.full(92, 0.25))
    seconds = np.array([[1.0, 2.0, 9.0], [8.0, 8.0, 8.0]])
    monkeypatch.setattr(coco_evaluation, "run_rounds", lambda *_: seconds)
    rows = coco_evaluation.measure(IMAGES, 3)
    assert [(one.name, one.mode) for one in rows] == [
        (name, f"evaluation {task}") for task in ("bbox", "segm") for name in coco_evaluation.NAMES
    ]
    assert [one.ratio for one in rows] == [4.0, 1.0, 4.0, 1.0]
    assert rows[0].images_per_s == IMAGES / 2
    table = coco_evaluation.format_table(rows)
    assert "convnext_dense, evaluation segm" in table and f"{IMAGES} generated images" in table


def test_the_tool(run):
    rows = json.loads(run(f"evaluation --pictures {IMAGES} --rounds 1 --json"))
    assert [tuple(row) for row in rows] == [FIELDS] * 4
    assert all(row["batch_size"] == IMAGES and row["ratio"] > 0 for row in rows)
    for line in ("evaluation tiny", "infer", "evaluation --pictures 0", "evaluation --rounds 0"):
        with pytest.raises(SystemExit):
            run(line)


def test_the_collector_runs_again_after_an_error():
    assert coco_eval.gc.isenabled()
    with pytest.raises(KeyError), coco_eval.garbage_collection_paused():
        assert not coco_eval.gc.isenabled()
        raise KeyError
    assert coco_eval.gc.isenabled()
    coco_eval.gc.disable()  # a caller's own setting is kept
    try:
        with coco_eval.garbage_collection_paused():
            pass
        assert not coco_eval.gc.isenabled()
    finally:
        coco_eval.gc.enable()
