"""COCO average precision of plain result dicts, by faster-coco-eval."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

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
    key = {"bbox": "bbox", "segm": "segmentation"}[task]
    found = [
        {name: result[name] for name in ("image_id", "category_id", "score", key)}
        for result in results
    ]
    truth, found, pictures, categories = _renumbered(truth, found, image_ids, category_ids)
    # The library prints its progress and its table; the log has its own.
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth = COCO(truth)
        # loadRes refuses an empty list
        coco_found = coco_truth.loadRes(found) if found else COCO({**truth, "annotations": []})
        evaluation = COCOeval_faster(coco_truth, coco_found, task)
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
    truth: dict, found: list[dict], image_ids: Sequence[int], category_ids: Sequence[int]
) -> tuple[dict, list[dict], list[int], list[int]]:
    """The same with ids from 1 on, in the order they had.

    faster-coco-eval keeps ids in floats, which mixes those beyond 2**53 up, fails on negative ones
    and takes the annotation 0 for none.
    """
    pictures = _numbers(image["id"] for image in truth["images"])
    categories = _numbers(category["id"] for category in truth["categories"])
    annotations = _numbers(annotation["id"] for annotation in truth["annotations"])

    def again(entry: dict) -> dict:
        image, category = pictures[entry["image_id"]], categories[entry["category_id"]]
        return {**entry, "image_id": image, "category_id": category}

    renumbered = {
        "images": [{**image, "id": pictures[image["id"]]} for image in truth["images"]],
        "categories": [{**one, "id": categories[one["id"]]} for one in truth["categories"]],
        "annotations": [
            {**again(one), "id": annotations[one["id"]], "iscrowd": one.get("iscrowd") or 0}
            for one in truth["annotations"]
        ],
    }
    return (
        renumbered,
        [again(one) for one in found],
        [pictures[image] for image in image_ids],
        [categories[category] for category in category_ids],
    )


def _numbers(ids: Iterable[int]) -> dict[int, int]:
    return {one: number for number, one in enumerate(sorted(ids), start=1)}
