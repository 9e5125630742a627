"""COCO average precision of plain result dicts, by faster-coco-eval."""

import contextlib
import gc
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster, mask

# Name of a figure -> its place in COCO's summary of twelve (or of twenty-one in newer versions,
# whose first twelve are these).
SUMMARY = {
    "mAP": 0,
    "mAP_50": 1,
    "mAP_75": 2,
    "mAP_s": 3,
    "mAP_m": 4,
    "mAP_l": 5,
    "AR_1": 6,
    "AR_10": 7,
    "AR_100": 8,
    "AR_s": 9,
    "AR_m": 10,
    "AR_l": 11,
}

# Task -> where a result has its shape, and the areas of many shapes in pixels.
KEYS = {"bbox": "bbox", "segm": "segmentation"}
AREAS = {
    "bbox": lambda boxes: [width * height for _, _, width, height in boxes],
    "segm": lambda masks: mask.area(masks).tolist() if masks else [],
}


@dataclass(frozen=True)
class CocoFigures:
    """Average precision of one task.

    Attributes:
        summary: COCO's twelve figures, in [0, 1]; -1 where no ground truth exists.
        per_class: AP at IoU .50:.95 of each category id; NaN where it has no ground truth.
        precision: At the IoU thresholds .50, .55 ... .95 and the recalls 0, .01 ... 1, for each
            category in the order asked for, (10, 101, categories); -1 without ground truth.
    """

    summary: dict[str, float]
    per_class: dict[int, float]
    precision: np.ndarray


def evaluate_coco(
    truth: dict,
    results: Sequence[dict],
    task: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> CocoFigures:
    """Average precision and recall over the given pictures and categories.

    Args:
        truth: Content of a COCO annotation file.
        results: COCO result dicts (``image_id``, ``category_id``, ``score``, and ``bbox`` as
            (x, y, width, height) or ``segmentation`` as RLE).
        task: ``bbox`` or ``segm``.
        image_ids: The pictures to evaluate; others do not count.
        category_ids: The categories to evaluate.

    Returns:
        The figures; equal to pycocotools' to 1e-6.
    """
    with collector_paused(), contextlib.redirect_stdout(io.StringIO()):
        # The library prints its progress and its table; the log has its own.
        return _evaluate(truth, results, task, image_ids, category_ids)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses Python's search for cycles, which hundreds of thousands of dicts set off and lack."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _evaluate(
    truth: dict,
    results: Sequence[dict],
    task: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> CocoFigures:
    truth, found, pictures, categories = _renumbered(truth, results, task, image_ids, category_ids)
    coco_truth, coco_found = COCO(truth), COCO({**truth, "annotations": found})
    evaluation = COCOeval_faster(coco_truth, coco_found, task)
    # Its threads hold Python's lock while they compute, and wait for each other: one is faster.
    evaluation.rle_iou_max_workers = 1
    evaluation.params.imgIds = pictures
    evaluation.params.catIds = categories
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    summary = {name: float(evaluation.stats[place]) for name, place in SUMMARY.items()}
    # precision: (IoU thresholds, recall thresholds, categories, areas, detections per picture)
    # The evaluation sorts the categories; a file may have them in another order.
    order = [list(evaluation.params.catIds).index(category) for category in categories]
    precision = evaluation.eval["precision"][:, :, order, 0, -1]
    per_class = {}
    for place, category in enumerate(category_ids):
        values = precision[:, :, place]
        values = values[values > -1]
        per_class[category] = float(np.mean(values)) if values.size else float("nan")
    return CocoFigures(summary, per_class, precision)


def _renumbered(
    truth: dict,
    results: Sequence[dict],
    task: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> tuple[dict, list[dict], list[int], list[int]]:
    """Truth, results as annotations, pictures and categories with ids from 1 on, in their order.

    faster-coco-eval keeps ids in floats, which mixes those beyond 2**53 up, fails on negative ones
    and takes the annotation 0 for none. Its own reading of results would look for boxes around
    masks and draw masks of boxes, which no figure needs.
    """
    pictures = _numbers(image["id"] for image in truth["images"])
    categories = _numbers(category["id"] for category in truth["categories"])
    annotations = _numbers(annotation["id"] for annotation in truth["annotations"])
    renumbered = {
        "images": [{**image, "id": pictures[image["id"]]} for image in truth["images"]],
        "categories": [{**one, "id": categories[one["id"]]} for one in truth["categories"]],
        "annotations": [
            {
                **one,
                "id": annotations[one["id"]],
                "image_id": pictures[one["image_id"]],
                "category_id": categories[one["category_id"]],
                "iscrowd": one.get("iscrowd") or 0,
            }
            for one in truth["annotations"]
        ],
    }
    shapes = [result[KEYS[task]] for result in results]
    found = [
        {
            "id": number,
            "image_id": pictures[result["image_id"]],
            "category_id": categories[result["category_id"]],
            "score": result["score"],
            KEYS[task]: shape,
            "area": area,
            "iscrowd": 0,
        }
        for number, (result, shape, area) in enumerate(
            zip(results, shapes, AREAS[task](shapes), strict=True), start=1
        )
    ]
    return (
        renumbered,
        found,
        [pictures[image] for image in image_ids],
        [categories[category] for category in category_ids],
    )


def _numbers(ids: Iterable[int]) -> dict[int, int]:
    return {one: number for number, one in enumerate(sorted(ids), start=1)}
