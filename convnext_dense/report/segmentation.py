"""What a segmentor's results show: confused pixels, their confidence, and coloured pictures."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from convnext_dense.browse import drawing
from convnext_dense.errors import UserError
from convnext_dense.report.findings import (
    BEST,
    CURVES,
    Analysis,
    Confusion,
    Line,
    Shown,
    best_and_worst,
    css_colour,
    embed,
)
from convnext_dense.report.ground_truth import open_dataset
from convnext_dense.report.work_folders import Test
from convnext_dense.segmentation.browser import paint


def analyse(test: Test, results: Path) -> Analysis:
    """Reads the file of ``tools/test.py --out``: one row a picture."""
    rows = json.loads(results.read_text(encoding="utf-8"))
    found = Analysis()
    if not all("confusion" in row for row in rows):
        raise UserError(
            f"{results.name} has no labels of its pictures, which an earlier version left out: "
            "test again for curves, confusion matrix and pictures."
        )
    classes = list(test.metrics["per_class"])
    found.confusion = confusion(rows, classes)
    mean = mean_iou(found.confusion.counts)
    if abs(mean - (test.metrics.get("mIoU") or mean)) > 1e-6:
        found.notes.append(
            f"{results.name} has a mean IoU of {mean:.3f}, metrics.json "
            f"{test.metrics['mIoU']:.3f}: they are of different tests."
        )
    lines = curves(rows, classes, found.confusion.counts)
    found.curves_how = "The threshold is on the probability of the class that was chosen."
    if not lines:
        lines = points(classes, found.confusion.counts)
        found.curves_how = "A point a class, since a test in several views keeps no probabilities."
    found.curves = [("Pixels found", lines)]
    try:
        _show(found, rows, classes, test)
    except UserError as error:
        found.notes.append(str(error))
    return found


def confusion(rows: list[dict[str, Any]], classes: list[str]) -> Confusion:
    """Adds up the pixels of all pictures by class (rows) and prediction (columns)."""
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for row in rows:
        for truth, predicted, pixels in row["confusion"]:
            counts[place[truth], place[predicted]] += pixels
    return Confusion(classes, classes, counts, "pixels", "Ignored pixels do not count.")


def mean_iou(counts: np.ndarray) -> float:
    """The mean over the classes that occur in truth or prediction."""
    right = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - right
    return float(np.mean(right[union > 0] / union[union > 0])) if union.any() else 0.0


def curves(rows: list[dict[str, Any]], classes: list[str], counts: np.ndarray) -> list[Line]:
    """The curve of all pixels, and of each class where they are few; none without confidences."""
    if not rows or not all("confidence" in row for row in rows):
        return []
    bins: dict[str, np.ndarray] = {}
    for row in rows:
        for name, table in row["confidence"].items():
            bins[name] = bins.get(name, 0) + np.array(table, np.int64)
    lines = [_curve("all", sum(bins.values()), counts.sum(), 0)] if bins else []
    names = classes if len(classes) <= CURVES else []
    return lines + [
        _curve(name, bins[name], counts[place].sum(), place + 1)
        for place, name in enumerate(names)
        if name in bins and counts[place].any()
    ]


def _curve(name: str, table: np.ndarray, positives: int, number: int) -> Line:
    """From the surest bin down; ``table`` holds right and wrong pixels by bin (2, bins)."""
    right, wrong = table[:, ::-1].cumsum(axis=1)
    some = (right + wrong) > 0
    recall, precision = right[some] / positives, right[some] / (right + wrong)[some]
    return Line(name, recall.tolist(), precision.tolist(), number)


def points(classes: list[str], counts: np.ndarray) -> list[Line]:
    """Recall and precision of each class that was predicted and occurs; the most pixels first."""
    truth, predicted, right = counts.sum(1), counts.sum(0), np.diag(counts)
    some = [place for place in np.argsort(-truth) if truth[place] and predicted[place]][:CURVES]
    return [
        Line(classes[p], [right[p] / truth[p]], [right[p] / predicted[p]], number)
        for number, p in enumerate(some)
    ]


def _show(found: Analysis, rows: list[dict[str, Any]], classes: list[str], test: Test) -> None:
    """Takes the pictures of the highest and the lowest mean IoU: truth and prediction."""
    rated = [row for row in rows if row["mIoU"] is not None]
    found.pictures_how = "By the mean IoU of the picture's classes."
    if several := [row for row in rated if len({truth for truth, _, _ in row["confusion"]}) > 1]:
        rated = several  # a picture of background alone says little
        found.pictures_how += " Pictures whose truth is one class alone are left out."
    best, worst = best_and_worst(rated, lambda row: row["mIoU"], BEST)
    with open_dataset(test) as dataset:
        place = {dataset.get_data_info(i)["img_path"]: i for i in range(len(dataset))}
        for some, shown in ((best, found.best), (worst, found.worst)):
            for row in some:
                if row["img_path"] in place:
                    shown.append(_shown(row, dataset[place[row["img_path"]]], classes))
        if rated and not found.best:
            found.notes.append(f"The config's data has no picture {rated[0]['img_path']}.")


def _shown(row: dict[str, Any], sample: dict[str, Any], classes: list[str]) -> Shown:
    image, truth = sample["img"][:, :, ::-1], sample["gt_seg_map"]
    labels = decode_labels(row["labels"])
    colours = drawing.class_colours(len(classes))
    seen = [int(one) for one in np.union1d(truth, labels) if one < len(classes)]
    views = [
        (embed(paint(image, truth, colours)), "truth"),
        (embed(paint(image, labels, colours)), "prediction"),
    ]
    caption = f"{Path(row['img_path']).name}: mean IoU {row['mIoU']:.3f}"
    return Shown(views, caption, [(classes[one], css_colour(colours[one])) for one in seen])


def decode_labels(text: str) -> np.ndarray:
    """Labels (height, width) from a PNG in base64."""
    content = np.frombuffer(base64.b64decode(text), np.uint8)
    labels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise ValueError("labels are no PNG")
    return labels
