"""A segmentor's results against numpy, from the metric that writes them, on drawn images."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from convnext_dense.report.segmentation import analyse_results, decode_labels
from convnext_dense.runs.saved_runs import read_runs
from convnext_dense.segmentation.mean_iou import MeanIoUMetric
from tests.report.conftest import write_picture, write_test

CLASSES = ("sky", "sea", "sand")
SIZE = (24, 32)


def drawn(tmp_path, with_logits=True, pictures=6):
    """A data set of random labels, and a test of predictions that are half right."""
    rng = np.random.default_rng(0)
    out = tmp_path / "test/results.json"
    metric = MeanIoUMetric(outfile=str(out))
    metric.dataset_meta = dict(classes=CLASSES)
    truths, chosen, surely = [], [], []
    for number in range(pictures):
        truth = rng.choice([0, 1, 2, 255], SIZE).astype(np.uint8)
        if number == 0:
            truth[:] = 1
        logits = rng.normal(size=(3, *SIZE)) + 2 * (np.arange(3)[:, None, None] == truth)
        path = tmp_path / f"data/img/{number}.jpg"
        write_picture(path, number, SIZE)
        (tmp_path / "data/ann").mkdir(exist_ok=True)
        Image.fromarray(truth).save(tmp_path / f"data/ann/{number}.png")
        sample = {
            "img_path": str(path),
            "pred_sem_seg": {"data": torch.from_numpy(logits.argmax(0))[None]},
            "gt_sem_seg": {"data": torch.from_numpy(truth)[None]},
        }
        if with_logits:
            sample["seg_logits"] = {"data": torch.from_numpy(logits)}
        metric.process(None, [sample])
        truths.append(truth)
        chosen.append(logits.argmax(0))
        odds = np.exp(logits)
        surely.append((odds / odds.sum(0)).max(0))
    figures = metric.evaluate(pictures)
    config = dict(
        default_scope="mmseg",
        custom_imports=dict(imports=["convnext_dense.segmentation.load_labels"]),
        test_dataloader=dict(
            dataset=dict(
                type="BaseSegDataset",
                data_root=str(tmp_path / "data"),
                data_prefix=dict(img_path="img", seg_map_path="ann"),
                metainfo=dict(classes=CLASSES),
                pipeline=[
                    dict(type="LoadImageFromFile"),
                    dict(type="LoadLabels", num_classes=3),
                    dict(type="PackSegInputs"),
                ],
            )
        ),
    )
    metrics = {"mIoU": figures["seg/mIoU"], "per_class": {name: {"IoU": 0.5} for name in CLASSES}}
    write_test(out.parent, config, metrics, None)
    return out.parent, np.array(truths), np.array(chosen), np.array(surely)


def read(folder):
    ((test,),) = [run.tests for run in read_runs([folder])]
    return analyse_results(test, test.results)


def test_confusion_is_numpys(tmp_path):
    folder, truths, chosen, _ = drawn(tmp_path)
    expected = np.zeros((3, 3), int)
    counts = truths != 255
    np.add.at(expected, (truths[counts], chosen[counts]), 1)
    found = read(folder)
    assert found.confusion.counts.tolist() == expected.tolist()
    assert found.notes == []  # and so the mean IoU is that of metrics.json


def test_curves_are_numpys_at_the_bins(tmp_path):
    folder, truths, chosen, surely = drawn(tmp_path)
    ((_, lines),) = read(folder).curves
    assert [line.name for line in lines] == ["all", *CLASSES]
    for line in lines:
        of_class = chosen >= 0 if line.name == "all" else chosen == CLASSES.index(line.name)
        true = truths != 255 if line.name == "all" else truths == CLASSES.index(line.name)
        recall, precision = [], []
        for step in range(19, -1, -1):
            kept = (surely >= step / 20) & of_class & (truths != 255)
            if kept.any():
                right = (truths[kept] == chosen[kept]).sum()
                recall.append(right / true.sum())
                precision.append(right / kept.sum())
        assert line.xs == pytest.approx(recall) and line.ys == pytest.approx(precision)


def test_labels_come_back_and_pictures_are_ranked(tmp_path):
    folder, _, chosen, _ = drawn(tmp_path)
    rows = json.loads((folder / "results.json").read_text())
    assert all((decode_labels(r["labels"]) == c).all() for r, c in zip(rows, chosen, strict=True))
    found = read(folder)
    rated = sorted(rows[1:], key=lambda row: -row["mIoU"])  # the first shows one class alone
    captions = [f"{row['img_path'].rsplit('/')[-1]}: mean IoU {row['mIoU']:.3f}" for row in rated]
    assert [one.caption for one in found.best] == captions[:2]
    assert [one.caption for one in found.worst] == captions[:1:-1][:2]
    assert [word for _, word in found.best[0].views] == ["truth", "prediction"]
    assert [name for name, _ in found.best[0].legend] == list(CLASSES)


def test_several_views_give_points(tmp_path):
    folder, truths, chosen, _ = drawn(tmp_path, with_logits=False)
    ((_, lines),) = read(folder).curves
    by_name = {line.name: (line.xs, line.ys) for line in lines}
    known = truths != 255
    for label, name in enumerate(CLASSES):
        right = ((truths == label) & (chosen == label)).sum()
        recall, precision = (
            right / (truths == label).sum(),
            right / (known & (chosen == label)).sum(),
        )
        assert by_name[name] == ([pytest.approx(recall)], [pytest.approx(precision)])


def test_missing_data_leaves_the_rest(tmp_path, render):
    folder, *_ = drawn(tmp_path)
    shutil.rmtree(tmp_path / "data")
    found = read(folder)
    assert found.confusion is not None and found.curves and not found.best
    assert f"The data is not at {tmp_path / 'data'}" in found.notes[0]
    assert "so there is no ground truth" in render(folder).text


def test_results_of_before(tmp_path, render):
    folder, *_ = drawn(tmp_path)
    rows = json.loads((folder / "results.json").read_text())
    old = [{"img_path": row["img_path"], "mIoU": row["mIoU"]} for row in rows]
    (folder / "results.json").write_text(json.dumps(old))
    assert "has no labels of its images" in render(folder).text
