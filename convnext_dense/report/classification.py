"""Analysis of a classifier's results: class, prediction and probabilities of each image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from convnext_dense.report.findings import (
    MAX_CURVES,
    NUM_BEST,
    Analysis,
    Confusion,
    ImageFigure,
    Line,
    precision_recall,
    thin_out,
    to_data_url,
)
from convnext_dense.runs.saved_runs import Test

MIN_SIDE = 192  # pixels; smaller images are enlarged


def analyse_results(test: Test, results: Path) -> Analysis:
    """Analyses the file of ``tools/test.py --out``, which has a row for each image."""
    rows = json.loads(results.read_text(encoding="utf-8"))
    analysis = Analysis()
    classes = _classes(test, rows)
    analysis.confusion = confusion(rows, classes)
    top1 = sum(row["class"] == row["predicted"] for row in rows) / max(len(rows), 1)
    if abs(top1 - (test.metrics.get("top1") or top1)) > 1e-6:
        analysis.notes.append(
            f"{results.name} has a top-1 of {top1:.3f}, metrics.json {test.metrics['top1']:.3f}: "
            "they belong to different tests."
        )
    if not all("score" in row for row in rows):
        analysis.notes.append(
            "These results have no probabilities, since an earlier version wrote them: test again "
            "for curves and for the best and worst images."
        )
        return analysis
    analysis.curves = [("Images found", curves(rows, classes))]
    analysis.curves_note = (
        "An image counts as found if the predicted class is correct; the threshold applies to "
        "the probability of that class."
    )
    analysis.images_note = "The correct and the wrong predictions with the highest probabilities."
    _add_images(analysis, rows)
    return analysis


def _classes(test: Test, rows: list[dict[str, Any]]) -> list[str]:
    """The class names that occur, in the order of the config if it lists them."""
    occurring = {row[key] for row in rows for key in ("class", "predicted")}
    data = (test.config.get("test_dataloader") or {}).get("dataset") or {}
    names = (data.get("metainfo") or {}).get("classes") or ()
    if isinstance(names, str) or not occurring <= set(names):  # such as imagenet-1k
        return sorted(occurring)
    return [name for name in names if name in occurring]


def confusion(rows: list[dict[str, Any]], classes: list[str]) -> Confusion:
    """Counts images by class (rows) and prediction (columns)."""
    indices = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for row in rows:
        counts[indices[row["class"]], indices[row["predicted"]]] += 1
    return Confusion(classes, classes, counts, "images", "Each image counts once.")


def curves(rows: list[dict[str, Any]], classes: list[str]) -> list[Line]:
    """The curve of all images, and of each class unless there are many."""
    scores = np.array([row["score"] for row in rows], float)
    correct = np.array([row["class"] == row["predicted"] for row in rows], bool)
    lines = [thin_out("all", *precision_recall(scores, correct, len(rows)), 0)]
    names = classes if len(classes) <= MAX_CURVES else []
    for number, name in enumerate(names, start=1):
        of_class = np.array([row["predicted"] == name for row in rows], bool)
        positives = sum(row["class"] == name for row in rows)
        curve = precision_recall(scores[of_class], correct[of_class], positives)
        lines.append(thin_out(name, *curve, number))
    return lines


def _add_images(analysis: Analysis, rows: list[dict[str, Any]]) -> None:
    """Adds the correct and the wrong predictions with the highest probabilities."""
    ranked = sorted(rows, key=lambda row: -row["score"])
    for correct, figures in ((True, analysis.best), (False, analysis.worst)):
        selected = [row for row in ranked if (row["class"] == row["predicted"]) == correct]
        selected = selected[:NUM_BEST]
        for row in selected:
            try:
                with Image.open(row["path"]) as opened:
                    image = opened.convert("RGB")
            except (OSError, UnidentifiedImageError, ValueError):
                continue
            figures.append(ImageFigure([(to_data_url(_enlarge(image)), "")], _caption(row)))
        if selected and not figures:
            analysis.notes.append(
                f"The images cannot be read as files here, such as {selected[0]['path']}."
            )


def _enlarge(image: Image.Image) -> Image.Image:
    factor = max(1, MIN_SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BOX)


def _caption(row: dict[str, Any]) -> str:
    prediction = f"{row['predicted']} ({row['score']:.2f})"
    if row["class"] == row["predicted"]:
        return prediction
    return f"{prediction}; truth: {row['class']} ({row['class_score']:.2f})"
