"""COCO figures against pycocotools on random data with every corner the format has."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.detection.coco_eval import SUMMARY, evaluate_coco
from convnext_dense.detection.coco_metric import to_coco

SIZE = 120
CATEGORIES = (3, 7, 11, 90)  # 90 never occurs in the truth


def random_box(rng) -> list[float]:
    x, y = rng.uniform(0, SIZE - 12, 2)
    width, height = rng.uniform(2, SIZE - max(x, y), 2)
    return [x, y, width, height]


def rle(box) -> dict:
    mask = np.zeros((SIZE, SIZE), np.uint8, order="F")
    x, y, width, height = (round(value) for value in box)
    mask[y : y + max(height, 1), x : x + max(width, 1)] = 1
    encoded = mask_api.encode(mask)
    return {**encoded, "counts": encoded["counts"].decode()}


def make(seed: int, detections: int = 12) -> tuple[dict, list[dict]]:
    """Thirty images, some without truth or detections, crowds, and jittered detections."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, 31):
        for _ in range(int(rng.integers(0, 6))):
            box, category = random_box(rng), int(rng.choice(CATEGORIES[:3]))
            mask = rle(box)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=category,
                    bbox=box,
                    area=float(mask_api.area(mask)),
                    iscrowd=int(rng.random() < 0.1),
                    segmentation=mask,
                )
            )
            for _ in range(int(rng.integers(0, 3))):
                moved = [max(0.5, value + rng.normal(0, 3)) for value in box]
                results.append(detection(rng, image, category, moved))
        for _ in range(int(rng.integers(0, detections))):
            category = int(rng.choice(CATEGORIES))
            results.append(detection(rng, image, category, random_box(rng)))
    truth = dict(
        images=[dict(id=image, width=SIZE, height=SIZE) for image in range(1, 31)],
        annotations=annotations,
        categories=[dict(id=category, name=str(category)) for category in CATEGORIES],
    )
    return truth, results


def detection(rng, image, category, box) -> dict:
    score = round(float(rng.random()), 2)  # ties occur
    return dict(image_id=image, category_id=category, bbox=box, score=score, segmentation=rle(box))


def oracle(truth, results, task, image_ids) -> tuple[np.ndarray, dict]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        keys = {"bbox": "bbox", "segm": "segmentation"}
        kept = [
            {k: r[k] for k in ("image_id", "category_id", "score", keys[task])} for r in results
        ]
        evaluation = COCOeval(coco, coco.loadRes(kept), task)
        evaluation.params.imgIds = image_ids
        evaluation.params.catIds = list(CATEGORIES)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    per_class = {}
    for place, category in enumerate(CATEGORIES):
        values = evaluation.eval["precision"][:, :, place, 0, -1]
        values = values[values > -1]
        per_class[category] = values.mean() if values.size else float("nan")
    return evaluation.stats, per_class


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_pycocotools(task, seed):
    truth, results = make(seed)
    image_ids = list(range(1, 26))  # the last images do not count
    figures = evaluate_coco(truth, results, task, image_ids, CATEGORIES)
    stats, per_class = oracle(truth, results, task, image_ids)
    assert [figures.summary[name] for name in SUMMARY] == pytest.approx(list(stats), abs=1e-6)
    assert 0 < figures.summary["mAP"] < 1
    for category in CATEGORIES:
        assert figures.per_class[category] == pytest.approx(
            per_class[category], abs=1e-6, nan_ok=True
        )
    assert np.isnan(figures.per_class[90])


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("first", [-1000, -15, 2**53, 2**63 - 200])
def test_the_figures_do_not_depend_on_the_ids(first, task):
    """faster-coco-eval alone fails on the first two and mixes the images of the others."""
    truth, results = make(0)
    images = range(1, 26)
    expected = evaluate_coco(truth, results, task, images, CATEGORIES)
    for entries, keys in (
        (truth["images"], ["id"]),
        (truth["categories"], ["id"]),
        (truth["annotations"], ["id", "image_id", "category_id"]),
        (results, ["image_id", "category_id"]),
    ):
        for entry in entries:
            entry.update({key: entry[key] + first for key in keys})
    moved = [first + image for image in images]
    categories = [first + category for category in CATEGORIES]
    found = evaluate_coco(truth, results, task, moved, categories)
    assert found.summary == expected.summary
    np.testing.assert_array_equal(found.precision, expected.precision)
    assert list(found.per_class) == categories


def test_classes_keep_their_figures_in_any_order():
    truth, results = make(0)
    images = range(1, 31)
    ascending = evaluate_coco(truth, results, "bbox", images, CATEGORIES)
    mixed = evaluate_coco(truth, results, "bbox", images, (11, 3, 90, 7))
    assert mixed.per_class == pytest.approx(ascending.per_class, nan_ok=True)
    assert len({round(value, 6) for value in list(ascending.per_class.values())[:3]}) == 3
    np.testing.assert_array_equal(mixed.precision, ascending.precision[:, :, [2, 0, 3, 1]])


def test_no_detections_at_all():
    truth, _ = make(0)
    figures = evaluate_coco(truth, [], "segm", list(range(1, 31)), CATEGORIES)
    assert figures.summary["mAP"] == 0
    assert figures.per_class[3] == 0 and np.isnan(figures.per_class[90])


def test_no_truth_at_all():
    truth, results = make(0)
    truth["annotations"] = []
    figures = evaluate_coco(truth, results, "bbox", [1, 2], CATEGORIES)
    assert figures.summary["mAP"] == -1


def test_boxes_become_corner_and_size():
    result = dict(
        img_id=4,
        bboxes=np.array([[1.0, 2.0, 11.0, 22.0]]),
        scores=np.array([0.5]),
        labels=np.array([1]),
        masks=None,
    )
    assert to_coco(result, CATEGORIES) == [
        dict(image_id=4, category_id=7, bbox=[1.0, 2.0, 10.0, 20.0], score=0.5)
    ]
