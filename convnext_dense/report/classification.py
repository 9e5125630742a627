"""What a classifier's results show: every picture's class, prediction and their probabilities."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from convnext_dense.report.findings import (
    BEST,
    CURVES,
    Analysis,
    Confusion,
    Line,
    Shown,
    embed,
    precision_recall,
    thinned,
)
from convnext_dense.report.work_folders import Test

SIDE = 192  # pixels to which a smaller picture is enlarged


def analyse(test: Test, results: Path) -> Analysis:
    """Reads the file of ``tools/test.py --out``: one row a picture."""
    rows = json.loads(results.read_text(encoding="utf-8"))
    found = Analysis()
    classes = _classes(test, rows)
    found.confusion = confusion(rows, classes)
    top1 = sum(row["class"] == row["predicted"] for row in rows) / max(len(rows), 1)
    if abs(top1 - (test.metrics.get("top1") or top1)) > 1e-6:
        found.notes.append(
            f"{results.name} has a top-1 of {top1:.3f}, metrics.json {test.metrics['top1']:.3f}: "
            "they are of different tests."
        )
    if not all("score" in row for row in rows):
        found.notes.append(
            "These results have no probabilities, which an earlier version left out: test again "
            "for curves and for the best and worst pictures."
        )
        return found
    found.curves = [("Pictures found", curves(rows, classes))]
    found.curves_how = (
        "A picture counts as found where the first answer is right; the threshold is on that "
        "answer's probability."
    )
    found.pictures_how = "The surest of the right answers, and of the wrong ones."
    _show(found, rows)
    return found


def _classes(test: Test, rows: list[dict[str, Any]]) -> list[str]:
    """The config's names in its order; with thousands, those that occur."""
    seen = {row[key] for row in rows for key in ("class", "predicted")}
    data = (test.config.get("test_dataloader") or {}).get("dataset") or {}
    named = (data.get("metainfo") or {}).get("classes") or ()
    if isinstance(named, str) or not seen <= set(named):  # imagenet-1k
        return sorted(seen)
    return [name for name in named if name in seen]


def confusion(rows: list[dict[str, Any]], classes: list[str]) -> Confusion:
    """Counts pictures by class (rows) and prediction (columns)."""
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for row in rows:
        counts[place[row["class"]], place[row["predicted"]]] += 1
    return Confusion(classes, classes, counts, "pictures", "Each picture counts once.")


def curves(rows: list[dict[str, Any]], classes: list[str]) -> list[Line]:
    """The curve of all pictures, and of each class where they are few."""
    scores = np.array([row["score"] for row in rows], float)
    right = np.array([row["class"] == row["predicted"] for row in rows], bool)
    lines = [thinned("all", *precision_recall(scores, right, len(rows)), 0)]
    names = classes if len(classes) <= CURVES else []
    for number, name in enumerate(names, start=1):
        of_class = np.array([row["predicted"] == name for row in rows], bool)
        positives = sum(row["class"] == name for row in rows)
        pair = precision_recall(scores[of_class], right[of_class], positives)
        lines.append(thinned(name, *pair, number))
    return lines


def _show(found: Analysis, rows: list[dict[str, Any]]) -> None:
    """Takes the surest right answers and the surest wrong ones."""
    ranked = sorted(rows, key=lambda row: -row["score"])
    for right, shown in ((True, found.best), (False, found.worst)):
        some = [row for row in ranked if (row["class"] == row["predicted"]) == right][:BEST]
        for row in some:
            try:
                with Image.open(row["path"]) as opened:
                    picture = opened.convert("RGB")
            except (OSError, UnidentifiedImageError, ValueError):
                continue
            shown.append(Shown([(embed(_enlarged(picture)), "")], _caption(row)))
        if some and not shown:
            found.notes.append(
                f"The pictures are no files that can be read here, such as {some[0]['path']}."
            )


def _enlarged(picture: Image.Image) -> Image.Image:
    factor = max(1, SIDE // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BOX)


def _caption(row: dict[str, Any]) -> str:
    said = f"{row['predicted']} ({row['score']:.2f})"
    if row["class"] == row["predicted"]:
        return said
    return f"{said}; truth: {row['class']} ({row['class_score']:.2f})"
