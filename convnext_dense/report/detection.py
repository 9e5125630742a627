"""Analysis of a detector's results: COCO's curves, confusion of objects, drawn images."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from convnext_dense.browse import drawing
from convnext_dense.browse.style import class_colours, name_size
from convnext_dense.data.text_files import read_json
from convnext_dense.detection.coco_eval import CocoFigures, evaluate_coco
from convnext_dense.report.findings import (
    MAX_CURVES,
    NUM_BEST,
    Analysis,
    Confusion,
    ImageFigure,
    Line,
    best_and_worst,
    to_data_url,
)
from convnext_dense.report.ground_truth import open_dataset
from convnext_dense.report.match_detections import MIN_IOU, MIN_SCORE, TestedImage, match_all
from convnext_dense.runs.saved_runs import Test

MISSED, NO_OBJECT = "(missed)", "(nothing there)"
RECALLS = np.linspace(0, 1, 101)
IOU_THRESHOLDS = {0: "0.50", 5: "0.75"}  # index in COCO's ten -> IoU
TASKS = {"bbox": "boxes", "segm": "masks"}


def analyse_results(test: Test, results: Path) -> Analysis:
    """Compares the COCO results of ``tools/test.py --out`` with the annotations."""
    detections = json.loads(results.read_text(encoding="utf-8"))
    with open_dataset(test) as dataset:
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        classes, file = list(dataset.metainfo["classes"]), Path(dataset.ann_file)
    truth = read_json(file)
    analysis = Analysis()
    ids = {category["name"]: category["id"] for category in truth["categories"]}
    categories = [ids[name] for name in classes]
    paths = {info["img_id"]: info["img_path"] for info in infos}
    figures = {
        task: evaluate_coco(truth, detections, task, list(paths), categories)
        for task in TASKS
        if f"{task}_mAP" in test.metrics
    }
    analysis.notes += _differences(test, figures, results)
    analysis.curves, analysis.curves_note = (
        curves(figures, classes),
        "Interpolated as in COCO's AP.",
    )
    images = match_all(truth, detections, paths)
    analysis.confusion = confusion(images, classes, categories)
    _add_images(analysis, images, truth, dict(zip(categories, classes, strict=True)))
    return analysis


def _differences(test: Test, figures: dict[str, CocoFigures], results: Path) -> list[str]:
    return [
        f"{results.name} has a {task}_mAP of {of_task.summary['mAP']:.3f}, metrics.json "
        f"{test.metrics[f'{task}_mAP']:.3f}: they belong to different tests."
        for task, of_task in figures.items()
        if abs(of_task.summary["mAP"] - test.metrics[f"{task}_mAP"]) > 1e-4
    ]


def curves(figures: dict[str, CocoFigures], classes: list[str]) -> list[tuple[str, list[Line]]]:
    """Mean curves of boxes and masks at two IoUs, and curves of each class unless many."""
    lines = []
    for task, of_task in figures.items():
        for index, name in IOU_THRESHOLDS.items():
            precision = of_task.precision[index]
            table = np.where(precision < 0, np.nan, precision)
            has_truth = ~np.isnan(table).all(axis=0)
            if has_truth.any():
                mean = np.nanmean(table[:, has_truth], axis=1)
                lines.append(Line(f"{TASKS[task]}, IoU {name}", RECALLS, mean, len(lines)))
    charts = [("Mean of all classes", lines)]
    if "bbox" in figures and len(classes) <= MAX_CURVES:
        table = figures["bbox"].precision[0]
        of_classes = [
            Line(name, RECALLS, table[:, number], number)
            for number, name in enumerate(classes)
            if table[0, number] >= 0
        ]
        charts.append(("Boxes of each class, IoU 0.50", of_classes))
    return charts


def confusion(images: list[TestedImage], classes: list[str], categories: list[int]) -> Confusion:
    """Counts objects by true class (rows) and predicted class (columns)."""
    labels = {category: label for label, category in enumerate(categories)}
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for image in images:
        for t, d in image.matches:
            row = -1 if t is None else labels.get(image.truth[t]["category_id"])
            column = -1 if d is None else labels.get(image.detections[d]["category_id"])
            if row is not None and column is not None:
                counts[row, column] += 1
    note = (
        f"Detections with a score of at least {MIN_SCORE}, in descending order, are matched with "
        f"the object that their box overlaps most (IoU at least {MIN_IOU}), regardless of class."
    )
    return Confusion([*classes, NO_OBJECT], [*classes, MISSED], counts, "objects", note)


def _add_images(
    analysis: Analysis, images: list[TestedImage], truth: dict[str, Any], names: dict[int, str]
) -> None:
    """Adds the images with the highest and the lowest F1."""
    coco = COCO()
    coco.dataset = truth
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    rated = [image for image in images if image.objects]
    analysis.images_note = (
        f"Selected by F1 of the correctly classified objects, at scores of at least {MIN_SCORE}."
    )
    for selected, drawn in zip(
        best_and_worst(rated, lambda image: image.rating, NUM_BEST),
        (analysis.best, analysis.worst),
        strict=True,
    ):
        for image in selected:
            try:
                drawn.append(_image_figure(image, coco, names))
            except OSError:
                analysis.notes.append(f"The image {image.path} cannot be read.")


def _image_figure(tested: TestedImage, coco: COCO, names: dict[int, str]) -> ImageFigure:
    with Image.open(tested.path) as opened:
        image = np.array(opened.convert("RGB"))
    numbers = {category: number for number, category in enumerate(names)}
    colours = class_colours(len(names))
    sides = []
    for objects in (tested.truth, tested.detections):
        masks = [
            _mask(instance, coco) if instance.get("segmentation") else None for instance in objects
        ]
        labels = [numbers[instance["category_id"]] for instance in objects]
        scores = [
            f" {instance['score']:.2f}" if "score" in instance else "" for instance in objects
        ]
        titles = [
            names[instance["category_id"]] + score
            for instance, score in zip(objects, scores, strict=True)
        ]
        boxes = [instance["bbox"] for instance in objects]
        sides.append(
            draw_objects(image, boxes, masks, [colours[label] for label in labels], titles)
        )
    f1, _ = tested.rating
    labels = ("truth", "prediction")
    views = [(to_data_url(side), label) for side, label in zip(sides, labels, strict=True)]
    return ImageFigure(views, f"{Path(tested.path).name}: F1 {f1:.2f}")


def _mask(instance: dict[str, Any], coco: COCO) -> np.ndarray:
    if isinstance(instance["segmentation"], dict) and isinstance(
        instance["segmentation"]["counts"], str
    ):
        return mask_api.decode(instance["segmentation"]).astype(bool)
    return coco.annToMask(instance).astype(bool)


def draw_objects(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    masks: Sequence[np.ndarray | None],
    colours: Sequence[np.ndarray],
    titles: Sequence[str],
) -> Image.Image:
    """Draws masks (height, width) and boxes (x, y, width, height) with titles on a copy."""
    image, factor = image.copy(), drawing.enlarge(image)
    for mask, colour in zip(masks, colours, strict=True):
        if mask is not None:
            image[mask] = (0.5 * image[mask] + 0.5 * colour).astype(np.uint8)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    canvas = Image.fromarray(image).resize(size, Image.Resampling.NEAREST)
    draw, height = ImageDraw.Draw(canvas), round(1.5 * name_size(canvas.size))
    corners = [[x * factor, y * factor, (x + w) * factor, (y + h) * factor] for x, y, w, h in boxes]
    for box, colour in zip(corners, colours, strict=True):
        draw.rectangle(box, outline=tuple(map(int, colour)), width=2)
    labelled = list(zip(corners, colours, titles, strict=True))
    for box, colour, title in reversed(labelled):  # the highest score on top
        drawing.write_name(draw, box[:2], title, colour, height)
    return canvas
