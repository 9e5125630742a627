"""More than 100 objects of a class in an image: COCO's figures beside those that count them all."""

import contextlib
import io
import json

import numpy as np
import pytest
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.cli.shared.run_end import format_headline
from convnext_dense.data.coco.annotation_file import read_summary
from convnext_dense.data.coco.evaluation_limits import remark_limits
from convnext_dense.detection import coco_metric
from convnext_dense.detection.coco_eval import evaluate_coco
from convnext_dense.detection.coco_metric import CocoInstanceMetric
from convnext_dense.errors import UserError

SIDE = 400


def crowded(counts: dict[int, int], crowds: int = 0) -> dict:
    """Images with so many boxes of 8 x 8 pixels of one class, on a grid."""
    annotations = []
    for image, count in counts.items():
        for n in range(count):
            box = [n % 40 * 10.0, n // 40 * 10.0, 8.0, 8.0]
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image, category_id=5, bbox=box, area=64,
                     iscrowd=int(n < crowds))
            )  # fmt: skip
    return dict(
        images=[dict(id=i, file_name=f"{i}.jpg", width=SIDE, height=SIDE) for i in counts],
        annotations=annotations,
        categories=[dict(id=5, name="cell"), dict(id=6, name="fly")],
    )


def perfect(truth: dict, jitter: float = 0.0) -> list[dict]:
    """What a metric holds after a test that finds every box, moved by ``jitter``."""
    draw, results = np.random.default_rng(0), []
    for image in truth["images"]:
        boxes = [a["bbox"] for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = np.array(boxes, float).reshape(-1, 4) + draw.normal(0, jitter, (len(boxes), 4))
        boxes[:, 2:] += boxes[:, :2]
        results.append(
            dict(img_id=image["id"], bboxes=boxes, scores=draw.random(len(boxes)),
                 labels=np.zeros(len(boxes), int), masks=None)
        )  # fmt: skip
    return results


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines = []
    monkeypatch.setattr(coco_metric, "print_log", lambda line, **_: lines.append(str(line)))
    return lines


def measure(tmp_path, truth, **settings) -> dict[str, float]:
    (tmp_path / "a.json").write_text(json.dumps(truth))
    metric = CocoInstanceMetric(str(tmp_path / "a.json"), "bbox", **settings)
    metric.dataset_meta = dict(classes=("cell", "fly"))
    return metric.compute_metrics(perfect(truth))


def test_300_perfect_boxes(tmp_path, said):
    truth = crowded({1: 300, 2: 90})
    plain = measure(tmp_path, truth)
    assert plain["bbox_mAP"] < 0.6
    assert (plain["objects_not_counted"], plain["detections_not_counted"]) == (200, 200)
    assert "200 objects and 200 detections are beyond that" in said[-1]
    lifted = measure(tmp_path, truth, max_dets=300)
    assert lifted["bbox_mAP_max300"] == lifted["bbox_AR_300"] == pytest.approx(1)
    assert lifted["bbox_mAP"] == plain["bbox_mAP"] and "objects_not_counted" not in lifted
    assert format_headline({f"coco/{name}": value for name, value in lifted.items()}) == (
        f"bbox_mAP {plain['bbox_mAP']:.3f}  bbox_mAP_max300 1.000"
    )


def test_where_all_count_nothing_is_said(tmp_path, said):
    figures = measure(tmp_path, crowded({1: 100, 2: 150}, crowds=50))
    # 150 detections of the second image, 50 of them on crowds
    assert (figures["objects_not_counted"], figures["detections_not_counted"]) == (0, 50)
    figures = measure(tmp_path, crowded({1: 100, 2: 3}))
    assert "objects_not_counted" not in figures and "beyond" not in said[-1]
    assert not any("_max" in name for name in figures)


def test_the_lifted_figures_are_pycocotools():
    truth = crowded({1: 260, 2: 120, 3: 7})
    results = [
        dict(image_id=one["img_id"], category_id=5, score=float(score),
             bbox=[*map(float, box[:2]), *map(float, box[2:] - box[:2])])
        for one in perfect(truth, jitter=0.7)
        for box, score in zip(one["bboxes"], one["scores"], strict=True)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        oracle = COCOeval(coco, coco.loadRes(results), "bbox")
        oracle.params.maxDets = [1, 10, 200]
        oracle.evaluate()
        oracle.accumulate()
    precision, recall = oracle.eval["precision"], oracle.eval["recall"]
    found = evaluate_coco(truth, results, "bbox", [1, 2, 3], (5, 6), max_dets=200).summary

    def mean(values):
        return values[values > -1].mean()

    assert 0.1 < found["mAP"] < 0.9
    assert found["mAP"] == pytest.approx(mean(precision[..., 0, 2]), abs=1e-6)
    assert found["mAP_50"] == pytest.approx(mean(precision[0, ..., 0, 2]), abs=1e-6)
    assert found["mAP_s"] == pytest.approx(mean(precision[..., 1, 2]), abs=1e-6)
    assert found["AR_100"] == pytest.approx(mean(recall[..., 0, 2]), abs=1e-6)
    assert found["mAP"] > evaluate_coco(truth, results, "bbox", [1, 2, 3], (5, 6)).summary["mAP"]


def test_no_figure_is_no_minus_one():
    assert format_headline({"coco/bbox_mAP": -1.0, "coco/segm_mAP": 0.0}) == (
        "bbox_mAP -  segm_mAP 0.000"
    )


@pytest.mark.parametrize("value", [0, 100, -3, 2.5, "300", True])
def test_a_limit_that_lifts_nothing_is_refused(value):
    with pytest.raises(UserError, match="max_dets must be a whole number above 100"):
        CocoInstanceMetric("a.json", max_dets=value)


def remarks(tmp_path, truth, returned=100, max_dets=None) -> list[str]:
    (tmp_path / "a.json").write_text(json.dumps(truth))
    evaluator = dict(type="CocoInstanceMetric")
    if max_dets:
        evaluator["max_dets"] = max_dets
    model = dict(test_cfg=dict(rcnn=dict(max_per_img=returned)))
    cfg = Config(dict(model=model, val_evaluator=evaluator))
    return remark_limits(cfg, "val", read_summary(str(tmp_path / "a.json")), ("cell", "fly"))


def test_the_page_says_it_before_the_run(tmp_path):
    dense, sparse = crowded({1: 300, 2: 101, 3: 100}), crowded({1: 100, 2: 150}, crowds=50)
    (line,) = remarks(tmp_path, dense)
    assert "2 times an image has more than 100 objects of a class (at most 300)" in line
    assert "val_evaluator.max_dets=300 model.test_cfg.rcnn.max_per_img=300" in line
    assert remarks(tmp_path, dense, returned=300, max_dets=300) == []
    (line,) = remarks(tmp_path, dense, returned=100, max_dets=300)
    assert "2 images have more than 100 objects (at most 300), and the model returns 100" in line
    assert remarks(tmp_path, sparse) == []
    (line,) = remarks(tmp_path, sparse, returned=1000)
    assert "up to 1,000 objects of an image (max_per_img), and the figures count 100" in line
    assert "val_evaluator.max_dets=1000 counts them all" in line
