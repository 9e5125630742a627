"""Analysis of a segmentor's results: confusion, confidence and labels of the pixels."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from convnext_dense.browse.style import class_colours
from convnext_dense.errors import UserError
from convnext_dense.report.findings import (
    MAX_CURVES,
    NUM_BEST,
    Analysis,
    Confusion,
    ImageFigure,
    Line,
    best_and_worst,
    css_colour,
    to_data_url,
)
from convnext_dense.report.ground_truth import open_dataset
from convnext_dense.runs.saved_runs import Test
from convnext_dense.segmentation.browser import paint


def analyse_results(test: Test, results: Path) -> Analysis:
    """Analyses the file of ``tools/test.py --out``, which has a row for each image."""
    rows = json.loads(results.read_text(encoding="utf-8"))
    analysis = Analysis()
    if not all("confusion" in row for row in rows):
        raise UserError(
            f"{results.name} has no labels of its images, since an earlier version wrote it: "
            "test again for curves, confusion matrix and images."
        )
    classes = list(test.metrics["per_class"])
    analysis.confusion = confusion(rows, classes)
    mean = mean_iou(analysis.confusion.counts)
    if abs(mean - (test.metrics.get("mIoU") or mean)) > 1e-6:
        analysis.notes.append(
            f"{results.name} has a mean IoU of {mean:.3f}, metrics.json "
            f"{test.metrics['mIoU']:.3f}: they belong to different tests."
        )
    lines = curves(rows, classes, analysis.confusion.counts)
    analysis.curves_note = "The threshold applies to the probability of the predicted class."
    if not lines:
        lines = class_points(classes, analysis.confusion.counts)
        analysis.curves_note = (
            "A point for each class, since multi-scale tests keep no probabilities."
        )
    analysis.curves = [("Pixels found", lines)]
    try:
        _add_images(analysis, rows, classes, test)
    except UserError as error:
        analysis.notes.append(str(error))
    return analysis


def confusion(rows: list[dict[str, Any]], classes: list[str]) -> Confusion:
    """Counts the pixels of all images by class (rows) and prediction (columns)."""
    indices = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for row in rows:
        for truth, predicted, pixels in row["confusion"]:
            counts[indices[truth], indices[predicted]] += pixels
    return Confusion(classes, classes, counts, "pixels", "Ignored pixels are left out.")


def mean_iou(counts: np.ndarray) -> float:
    """Mean IoU of the classes that occur in ground truth or prediction."""
    correct = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - correct
    return float(np.mean(correct[union > 0] / union[union > 0])) if union.any() else 0.0


def curves(rows: list[dict[str, Any]], classes: list[str], counts: np.ndarray) -> list[Line]:
    """Curves of all pixels, and of each class unless there are many; [] without confidences."""
    if not rows or not all("confidence" in row for row in rows):
        return []
    bins: dict[str, np.ndarray] = {}
    for row in rows:
        for name, table in row["confidence"].items():
            bins[name] = bins.get(name, 0) + np.array(table, np.int64)
    lines = [_curve("all", sum(bins.values()), counts.sum(), 0)] if bins else []
    names = classes if len(classes) <= MAX_CURVES else []
    return lines + [
        _curve(name, bins[name], counts[label].sum(), label + 1)
        for label, name in enumerate(names)
        if name in bins and counts[label].any()
    ]


def _curve(name: str, table: np.ndarray, positives: int, number: int) -> Line:
    """A curve from the most confident bin on; ``table`` has correct and wrong pixels (2, bins)."""
    correct, wrong = table[:, ::-1].cumsum(axis=1)
    filled = (correct + wrong) > 0
    recall = correct[filled] / positives
    precision = correct[filled] / (correct + wrong)[filled]
    return Line(name, recall.tolist(), precision.tolist(), number)


def class_points(classes: list[str], counts: np.ndarray) -> list[Line]:
    """Recall and precision of the largest classes that occur and were predicted."""
    truth, predicted, correct = counts.sum(1), counts.sum(0), np.diag(counts)
    labels = [label for label in np.argsort(-truth) if truth[label] and predicted[label]]
    return [
        Line(classes[k], [correct[k] / truth[k]], [correct[k] / predicted[k]], number)
        for number, k in enumerate(labels[:MAX_CURVES])
    ]


def _add_images(
    analysis: Analysis, rows: list[dict[str, Any]], classes: list[str], test: Test
) -> None:
    """Adds the images with the highest and the lowest mean IoU."""
    rated = [row for row in rows if row["mIoU"] is not None]
    analysis.images_note = "Selected by the mean IoU of the image's classes."
    if several := [row for row in rated if len({truth for truth, _, _ in row["confusion"]}) > 1]:
        rated = several  # images of background only say little
        analysis.images_note += " Images with a single true class are left out."
    best, worst = best_and_worst(rated, lambda row: row["mIoU"], NUM_BEST)
    with open_dataset(test) as dataset:
        indices = {dataset.get_data_info(i)["img_path"]: i for i in range(len(dataset))}
        for selected, figures in ((best, analysis.best), (worst, analysis.worst)):
            for row in selected:
                if row["img_path"] in indices:
                    sample = dataset[indices[row["img_path"]]]
                    figures.append(_image_figure(row, sample, classes))
        if rated and not analysis.best:
            analysis.notes.append(f"The config's data has no image {rated[0]['img_path']}.")


def _image_figure(row: dict[str, Any], sample: dict[str, Any], classes: list[str]) -> ImageFigure:
    image, truth = sample["img"][:, :, ::-1], sample["gt_seg_map"]
    labels = decode_labels(row["labels"])
    colours = class_colours(len(classes))
    occurring = [int(label) for label in np.union1d(truth, labels) if label < len(classes)]
    views = [
        (to_data_url(paint(image, truth, colours)), "truth"),
        (to_data_url(paint(image, labels, colours)), "prediction"),
    ]
    caption = f"{Path(row['img_path']).name}: mean IoU {row['mIoU']:.3f}"
    return ImageFigure(views, caption, [(classes[k], css_colour(colours[k])) for k in occurring])


def decode_labels(text: str) -> np.ndarray:
    """Labels (height, width) from a PNG in base64."""
    content = np.frombuffer(base64.b64decode(text), np.uint8)
    labels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise ValueError("the labels are not a PNG")
    return labels
