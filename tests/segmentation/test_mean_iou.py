"""The mean IoU against numpy's confusion matrix, with the cases that go wrong elsewhere."""

import json
import math

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from convnext_dense.report.segmentation import decode_labels
from convnext_dense.segmentation.mean_iou import MeanIoUMetric

CLASSES = 7


def picture(rng, labels, ignored=0.1, shape=(23, 31)) -> tuple[np.ndarray, np.ndarray]:
    """Random labels and a prediction that is right in about half of the pixels."""
    truth = rng.choice(labels, size=shape)
    predicted = np.where(rng.random(shape) < 0.5, truth, rng.choice(labels, size=shape))
    truth = np.where(rng.random(shape) < ignored, 255, truth)
    return predicted, truth


def measure(pictures, num_classes=CLASSES, **kwargs) -> dict:
    metric = MeanIoUMetric(**kwargs)
    metric.dataset_meta = dict(classes=[f"class {index}" for index in range(num_classes)])
    for number, (predicted, truth) in enumerate(pictures):
        sample = {
            "img_path": f"{number}.jpg",
            "pred_sem_seg": {"data": torch.from_numpy(predicted)[None]},
            "gt_sem_seg": {"data": torch.from_numpy(truth.astype(np.uint8))[None]},
        }
        metric.process(None, [sample])
    return metric.evaluate(len(pictures))


def by_confusion_matrix(pictures, num_classes=CLASSES) -> dict:
    matrix = np.zeros((num_classes, num_classes))
    for predicted, truth in pictures:
        counts = truth != 255
        np.add.at(matrix, (truth[counts], predicted[counts]), 1)
    right = np.diag(matrix)
    with np.errstate(invalid="ignore"):
        iou = right / (matrix.sum(0) + matrix.sum(1) - right)
        recall = right / matrix.sum(1)
    return {
        "seg/mIoU": np.nanmean(iou),
        "seg/mAcc": np.nanmean(recall),
        "seg/aAcc": right.sum() / matrix.sum(),
    }


@pytest.mark.parametrize("labels", [range(CLASSES), (0, 3, 6), (2,)])
def test_equals_the_confusion_matrix(labels):
    rng = np.random.default_rng(0)
    pictures = [picture(rng, list(labels)) for _ in range(5)]
    pictures.append((np.full((4, 5), labels[0]), np.full((4, 5), 255)))  # nothing counts
    assert measure(pictures) == pytest.approx(by_confusion_matrix(pictures), abs=1e-12)


def test_150_classes():
    rng = np.random.default_rng(1)
    pictures = [picture(rng, np.arange(150), shape=(60, 70)) for _ in range(3)]
    expected = by_confusion_matrix(pictures, 150)
    assert measure(pictures, 150) == pytest.approx(expected, abs=1e-12)


def test_per_class_and_pictures_own_figures(tmp_path):
    rng = np.random.default_rng(2)
    pictures = [picture(rng, [0, 1]), (np.zeros((3, 3), int), np.full((3, 3), 255))]
    measure(pictures, 3, outfile=str(tmp_path / "new/out.json"))
    per_class = MessageHub.get_current_instance().get_info("per_class")
    assert per_class["class 2"] == {"IoU": None, "Acc": None}
    assert 0 < per_class["class 0"]["IoU"] < 1
    rows = json.loads((tmp_path / "new/out.json").read_text())
    first = by_confusion_matrix(pictures[:1], 3)
    assert rows[0]["mIoU"] == pytest.approx(first["seg/mIoU"])
    labels = rows[1].pop("labels")
    assert (decode_labels(labels) == 0).all() and decode_labels(labels).shape == (3, 3)
    empty = dict(mIoU=None, mAcc=None, aAcc=None, confusion=[])
    assert rows[1] == {"img_path": "1.jpg", **empty}


def test_a_class_that_is_only_predicted_counts_as_zero():
    found = measure([(np.array([[0, 1]]), np.array([[0, 0]]))], 3)
    assert found["seg/mIoU"] == 0.25 and found["seg/mAcc"] == 0.5


def test_no_truth_at_all_is_nan():
    found = measure([(np.zeros((2, 2), int), np.full((2, 2), 255))])
    assert all(math.isnan(value) for value in found.values())
