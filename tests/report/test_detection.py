"""A detector's results against pycocotools and by hand, on drawn images."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.detection.coco_eval import evaluate_coco
from convnext_dense.report.detection import analyse_results
from convnext_dense.report.match_detections import match
from convnext_dense.runs.run_summary import final_figures
from convnext_dense.runs.saved_runs import read_runs
from tests.report.conftest import write_picture, write_test

CLASSES = ("cup", "pen")
IDS = {"cup": 7, "pen": 3}  # neither from 0 nor in order


def drawn(tmp_path, pictures=6):
    """Annotations with a crowd, and detections that are sometimes wrong."""
    rng = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for number in range(pictures):
        write_picture(tmp_path / f"data/img/{number}.jpg", number, (60, 80))
        images.append(dict(id=number + 10, file_name=f"{number}.jpg", width=80, height=60))
        for _ in range(rng.integers(1, 4)):
            x, y, w, h = rng.integers(0, 40), rng.integers(0, 30), *rng.integers(10, 30, 2)
            box, name = [float(v) for v in (x, y, w, h)], CLASSES[rng.integers(2)]
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=number + 10, category_id=IDS[name],
                    bbox=box, area=box[2] * box[3], iscrowd=0,
                    segmentation=[[float(v) for v in corners]],
                )
            )  # fmt: skip
            moved = [value + rng.normal() for value in box]
            said = name if rng.random() < 0.7 else CLASSES[rng.integers(2)]
            found = dict(image_id=number + 10, category_id=IDS[said], bbox=moved)
            results.append({**found, "score": float(rng.uniform(0.1, 1))})
    truth = dict(
        images=images, annotations=annotations,
        categories=[dict(id=IDS[name], name=name) for name in CLASSES],
    )  # fmt: skip
    (tmp_path / "data/truth.json").write_text(json.dumps(truth))
    ids = [image["id"] for image in images]
    figures = evaluate_coco(truth, results, "bbox", ids, [7, 3])
    config = dict(
        default_scope="mmdet",
        test_dataloader=dict(
            dataset=dict(
                type="CocoDataset",
                data_root=str(tmp_path / "data"),
                ann_file="truth.json",
                data_prefix=dict(img="img/"),
                metainfo=dict(classes=CLASSES),
                test_mode=True,
                pipeline=[dict(type="LoadImageFromFile")],
            )
        ),
    )
    metrics = {"bbox_mAP": figures.summary["mAP"]}
    write_test(tmp_path / "test", config, metrics, results)
    return tmp_path / "test", truth, results


def read(folder):
    ((test,),) = [run.tests for run in read_runs([folder])]
    return analyse_results(test, test.results)


def test_curves_are_pycocotools(tmp_path):
    folder, truth, results = drawn(tmp_path)
    found = read(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "data/truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.catIds = [7, 3]
        evaluation.evaluate()
        evaluation.accumulate()
    (_, means), (_, each) = found.curves
    assert evaluation.params.catIds == [3, 7]  # sorted; the classes are in the other order
    table = evaluation.eval["precision"][:, :, ::-1, 0, -1]
    assert [line.name for line in means] == ["boxes, IoU 0.50", "boxes, IoU 0.75"]
    np.testing.assert_allclose(means[0].ys, table[0].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(means[1].ys, table[5].mean(axis=1), atol=1e-6)
    assert [line.name for line in each] == list(CLASSES)
    for number, line in enumerate(each):
        np.testing.assert_allclose(line.ys, table[0, :, number], atol=1e-6)
        np.testing.assert_allclose(line.xs, evaluation.params.recThrs)
    assert 0.1 < means[0].ys.mean() < 0.95 and found.notes == []


def boxes(*rows):
    return [dict(bbox=list(row[:4]), iscrowd=row[4] if len(row) > 4 else 0) for row in rows]


def test_pairs_by_hand():
    truth = boxes((0, 0, 10, 10), (20, 0, 10, 10), (50, 0, 40, 40, 1), (0, 50, 5, 5))
    found = boxes(
        (20, 0, 10, 9),  # takes the second
        (0, 0, 10, 6),  # IoU 0.6 with the first: takes it, since it is surer
        (0, 0, 10, 10),  # exact, but the first is taken
        (55, 5, 10, 10),  # in the crowd: left out
        (0, 50, 5, 2),  # IoU 0.4: too little
    )
    assert match(truth, found) == [(1, 0), (0, 1), (None, 2), (None, 4), (3, None)]
    assert match([], found[:1]) == [(None, 0)] and match(truth[2:3], []) == []


def test_confusion_by_hand(tmp_path):
    folder, truth, _ = drawn(tmp_path, pictures=2)
    truth["annotations"] = [
        dict(id=1, image_id=10, category_id=7, bbox=[0, 0, 10, 10], area=100, iscrowd=0),
        dict(id=2, image_id=10, category_id=3, bbox=[30, 0, 10, 10], area=100, iscrowd=0),
        dict(id=3, image_id=11, category_id=3, bbox=[0, 0, 10, 10], area=100, iscrowd=0),
    ]
    (tmp_path / "data/truth.json").write_text(json.dumps(truth))
    results = [
        dict(image_id=10, category_id=7, bbox=[0, 0, 10, 10], score=0.9),
        dict(image_id=10, category_id=7, bbox=[30, 0, 10, 10], score=0.8),  # pen as cup
        dict(image_id=10, category_id=3, bbox=[60, 0, 10, 10], score=0.7),  # nothing there
        dict(image_id=11, category_id=3, bbox=[0, 0, 10, 10], score=0.2),  # below the score
    ]
    (folder / "results.json").write_text(json.dumps(results))
    found = read(folder)
    assert found.confusion.predicted == ["cup", "pen", "(missed)"]
    assert found.confusion.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert "to different tests" in found.notes[0]
    assert [one.caption for one in found.best] == ["0.jpg: F1 0.40"]
    assert [one.caption for one in found.worst] == ["1.jpg: F1 0.00"]


def test_only_the_tested_pictures_count(tmp_path):
    folder, _, results = drawn(tmp_path)
    config = (folder / "tiny.py").read_text().replace("'test_mode'", "'indices': 2, 'test_mode'")
    (folder / "tiny.py").write_text(config)
    kept = [one for one in results if one["image_id"] in (10, 11)]
    (folder / "results.json").write_text(json.dumps(kept))
    found = read(folder)
    truth = json.loads((tmp_path / "data/truth.json").read_text())
    objects = sum(one["image_id"] in (10, 11) for one in truth["annotations"])
    assert found.confusion.counts[:-1].sum() == objects
    (run,) = read_runs([folder])
    assert final_figures(run)[1] == "test of 2 images"


@pytest.mark.parametrize(
    "gone, sentence", [("data", "The data is not at"), ("data/truth.json", "")]
)
def test_missing_data_is_a_sentence(tmp_path, render, gone, sentence):
    folder, *_ = drawn(tmp_path)
    path = tmp_path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = render(folder)
    assert (sentence or "The data of this test cannot be opened") in page.text
    assert page.cells("bbox_mAP")


def test_missing_picture_is_a_sentence(tmp_path):
    folder, *_ = drawn(tmp_path)
    for path in (tmp_path / "data/img").iterdir():
        path.unlink()
    found = read(folder)
    assert not found.best and "cannot be read" in found.notes[0] and found.curves
