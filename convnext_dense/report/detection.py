"""What a detector's results show: COCO's curves, confused objects, marked pictures."""

import contextlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from convnext_dense.browse import drawing
from convnext_dense.detection.coco_eval import CocoFigures, evaluate_coco
from convnext_dense.report.findings import (
    BEST,
    CURVES,
    Analysis,
    Confusion,
    Line,
    Shown,
    best_and_worst,
    embed,
)
from convnext_dense.report.ground_truth import open_dataset
from convnext_dense.report.work_folders import Test

SCORE, IOU = 0.3, 0.5  # from which a detection counts, and takes an object
MISSED, NOTHING = "(missed)", "(nothing there)"
RECALLS = np.linspace(0, 1, 101)
THRESHOLDS = {0: "0.50", 5: "0.75"}  # place in COCO's ten -> IoU
TASKS = {"bbox": "boxes", "segm": "masks"}


@dataclass
class Picture:
    """One tested picture.

    Attributes:
        path: Its file.
        truth: COCO annotations.
        found: COCO result dicts of at least :data:`SCORE`, the surest first.
        pairs: (truth, found) places; None for what was missed, or was not there.
        right: Pairs of one class.
    """

    path: str
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]
    pairs: list[tuple[int | None, int | None]] = field(default_factory=list)
    right: int = 0

    @property
    def rating(self) -> tuple[float, int]:
        """F1 of the objects found as what they are; of equals, more right and fewer wrong."""
        return 2 * self.right / max(self.objects, 1), 3 * self.right - self.objects

    @property
    def objects(self) -> int:
        """True objects and detections."""
        return sum(not one.get("iscrowd") for one in self.truth) + len(self.found)


def analyse(test: Test, results: Path) -> Analysis:
    """Reads the file of ``tools/test.py --out``, COCO's result format, beside the annotations."""
    detections = json.loads(results.read_text(encoding="utf-8"))
    with open_dataset(test) as dataset:
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        classes, file = list(dataset.metainfo["classes"]), Path(dataset.ann_file)
    truth = json.loads(file.read_text(encoding="utf-8"))
    found = Analysis()
    ids = {category["name"]: category["id"] for category in truth["categories"]}
    categories = [ids[name] for name in classes]
    paths = {info["img_id"]: info["img_path"] for info in infos}
    figures = {
        task: evaluate_coco(truth, detections, task, list(paths), categories)
        for task in TASKS
        if f"{task}_mAP" in test.metrics
    }
    found.notes += _differences(test, figures, results)
    found.curves, found.curves_how = curves(figures, classes), "Interpolated as in COCO's AP."
    pictures = pair_all(truth, detections, paths)
    found.confusion = confusion(pictures, classes, categories)
    _show(found, pictures, truth, dict(zip(categories, classes, strict=True)))
    return found


def _differences(test: Test, figures: dict[str, CocoFigures], results: Path) -> list[str]:
    return [
        f"{results.name} has a {task}_mAP of {figure.summary['mAP']:.3f}, metrics.json "
        f"{test.metrics[f'{task}_mAP']:.3f}: they are of different tests."
        for task, figure in figures.items()
        if abs(figure.summary["mAP"] - test.metrics[f"{task}_mAP"]) > 1e-4
    ]


def curves(figures: dict[str, CocoFigures], classes: list[str]) -> list[tuple[str, list[Line]]]:
    """The mean curves of boxes and masks at two IoUs, and each class's where they are few."""
    lines = []
    for task, figure in figures.items():
        for place, name in THRESHOLDS.items():
            table = np.where(figure.precision[place] < 0, np.nan, figure.precision[place])
            some = ~np.isnan(table).all(axis=0)
            if some.any():
                mean = np.nanmean(table[:, some], axis=1)
                lines.append(Line(f"{TASKS[task]}, IoU {name}", RECALLS, mean, len(lines)))
    charts = [("Mean of all classes", lines)]
    if "bbox" in figures and len(classes) <= CURVES:
        table = figures["bbox"].precision[0]
        each = [
            Line(name, RECALLS, table[:, number], number)
            for number, name in enumerate(classes)
            if table[0, number] >= 0
        ]
        charts.append(("Boxes of each class, IoU 0.50", each))
    return charts


def pair_all(
    truth: dict[str, Any], detections: list[dict[str, Any]], paths: dict[int, str]
) -> list[Picture]:
    """Pairs objects and detections of every tested picture."""
    annotations, found = defaultdict(list), defaultdict(list)
    for one in truth["annotations"]:
        annotations[one["image_id"]].append(one)
    for one in sorted(detections, key=lambda one: -one["score"]):
        if one["score"] >= SCORE:
            found[one["image_id"]].append(one)
    pictures = [Picture(path, annotations[key], found[key]) for key, path in paths.items()]
    for picture in pictures:
        picture.pairs = pair(picture.truth, picture.found)
        picture.right = sum(
            picture.truth[t]["category_id"] == picture.found[f]["category_id"]
            for t, f in picture.pairs
            if t is not None and f is not None
        )
    return pictures


def pair(
    truth: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]
) -> list[tuple[int | None, int | None]]:
    """Each detection, the surest first, takes the free object that its box overlaps most.

    Args:
        truth: COCO annotations of a picture.
        found: COCO result dicts, the surest first.

    Returns:
        Places in both; None for an object that none took, or a detection that took none. Crowds
        are never missed, and a detection in one is left out.
    """
    crowds = [int(one.get("iscrowd", 0)) for one in truth]
    free = {place for place, crowd in enumerate(crowds) if not crowd}
    pairs: list[tuple[int | None, int | None]] = []
    overlaps = np.zeros((len(found), len(truth)))
    if truth and found:
        overlaps = mask_api.iou(
            [one["bbox"] for one in found], [one["bbox"] for one in truth], crowds
        )
    for place, row in enumerate(overlaps):
        best = max(free, key=lambda t: row[t], default=None)
        if best is not None and row[best] >= IOU:
            free.remove(best)
            pairs.append((best, place))
        elif not any(crowd and row[t] >= IOU for t, crowd in enumerate(crowds)):
            pairs.append((None, place))
    return pairs + [(place, None) for place in sorted(free)]


def confusion(pictures: list[Picture], classes: list[str], categories: list[int]) -> Confusion:
    """Counts objects by class (rows) and what they were taken for (columns)."""
    place = {category: number for number, category in enumerate(categories)}
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for picture in pictures:
        for t, f in picture.pairs:
            row = -1 if t is None else place.get(picture.truth[t]["category_id"])
            column = -1 if f is None else place.get(picture.found[f]["category_id"])
            if row is not None and column is not None:
                counts[row, column] += 1
    how = (
        f"Detections from a score of {SCORE} on, the surest first, take the object that their box "
        f"overlaps most (IoU at least {IOU}), whatever its class."
    )
    return Confusion([*classes, NOTHING], [*classes, MISSED], counts, "objects", how)


def _show(
    found: Analysis, pictures: list[Picture], truth: dict[str, Any], names: dict[int, str]
) -> None:
    """Takes the pictures of the highest and the lowest F1: truth and prediction."""
    coco = COCO()
    coco.dataset = truth
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    rated = [picture for picture in pictures if picture.objects]
    found.pictures_how = (
        f"By F1 of the objects that were found as what they are, at scores from {SCORE} on."
    )
    for some, shown in zip(
        best_and_worst(rated, lambda picture: picture.rating, BEST),
        (found.best, found.worst),
        strict=True,
    ):
        for picture in some:
            try:
                shown.append(_shown(picture, coco, names))
            except OSError:
                message = f"The picture {picture.path} cannot be read."
                found.notes.append(message)


def _shown(picture: Picture, coco: COCO, names: dict[int, str]) -> Shown:
    with Image.open(picture.path) as opened:
        image = np.array(opened.convert("RGB"))
    numbers = {category: number for number, category in enumerate(names)}
    colours = drawing.class_colours(len(names))
    sides = []
    for marks in (picture.truth, picture.found):
        masks = [None if not one.get("segmentation") else _mask(one, coco) for one in marks]
        labels = [numbers[one["category_id"]] for one in marks]
        scores = [f" {one['score']:.2f}" if "score" in one else "" for one in marks]
        titles = [
            names[one["category_id"]] + score for one, score in zip(marks, scores, strict=True)
        ]
        boxes = [one["bbox"] for one in marks]
        sides.append(mark(image, boxes, masks, [colours[label] for label in labels], titles))
    f1, _ = picture.rating
    views = [(embed(side), word) for side, word in zip(sides, ("truth", "prediction"), strict=True)]
    return Shown(views, f"{Path(picture.path).name}: F1 {f1:.2f}")


def _mask(one: dict[str, Any], coco: COCO) -> np.ndarray:
    if isinstance(one["segmentation"], dict) and isinstance(one["segmentation"]["counts"], str):
        return mask_api.decode(one["segmentation"]).astype(bool)
    return coco.annToMask(one).astype(bool)


def mark(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    masks: Sequence[np.ndarray | None],
    colours: Sequence[np.ndarray],
    titles: Sequence[str],
) -> Image.Image:
    """Draws masks (height, width) and boxes (x, y, width, height) with titles into a copy."""
    image, factor = image.copy(), drawing.enlarge(image)
    for mask, colour in zip(masks, colours, strict=True):
        if mask is not None:
            image[mask] = (0.5 * image[mask] + 0.5 * colour).astype(np.uint8)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    picture = Image.fromarray(image).resize(size, Image.Resampling.NEAREST)
    draw, height = ImageDraw.Draw(picture), round(1.5 * drawing.name_size(picture))
    corners = [[x * factor, y * factor, (x + w) * factor, (y + h) * factor] for x, y, w, h in boxes]
    for box, colour in zip(corners, colours, strict=True):
        draw.rectangle(box, outline=tuple(map(int, colour)), width=2)
    named = list(zip(corners, colours, titles, strict=True))
    for box, colour, title in reversed(named):  # the surest name on top
        drawing.write_name(draw, box[:2], title, colour, height)
    return picture
