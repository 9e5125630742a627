"""COCO average precision of plain result dicts, by faster-coco-eval."""

import contextlib
import gc
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster, mask

from convnext_dense.data.coco.evaluation_limits import MAX_DETS
from convnext_dense.detection.best_thresholds import BestThreshold, find_best_threshold

F1_IOU = 0.5  # of a detection that counts as correct for the best threshold

# Name of a figure -> its index in COCO's summary of 12 figures (newer versions have 21; the first
# 12 are these).
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

# Task -> key of a result's box or mask, and a function from boxes or masks to areas in pixels.
SHAPE_KEYS = {"bbox": "bbox", "segm": "segmentation"}
SHAPE_AREAS = {
    "bbox": lambda boxes: [width * height for _, _, width, height in boxes],
    "segm": lambda masks: mask.area(masks).tolist() if masks else [],
}


@dataclass(frozen=True)
class CocoFigures:
    """Average precision of one task.

    Attributes:
        summary: COCO's 12 figures, in [0, 1]; -1 where there is no ground truth.
        per_class: AP at IoU .50:.95 of each category id; NaN where there is no ground truth.
        precision: At the IoU thresholds .50, .55 ... .95 and the recalls 0, .01 ... 1, for each
            category in the requested order, (10, 101, categories); -1 without ground truth.
        best_thresholds: Of each category id, the score threshold with the highest F1 at IoU .50;
            None where no detection is correct, or where they were not asked for.
    """

    summary: dict[str, float]
    per_class: dict[int, float]
    precision: np.ndarray
    best_thresholds: dict[int, BestThreshold | None]


def evaluate_coco(
    truth: dict,
    results: Sequence[dict],
    task: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    thresholds: bool = False,
    max_dets: int = MAX_DETS,
) -> CocoFigures:
    """Average precision and recall over the given images and categories.

    Args:
        truth: Content of a COCO annotation file.
        results: COCO result dicts (``image_id``, ``category_id``, ``score``, and ``bbox`` as
            (x, y, width, height) or ``segmentation`` as RLE).
        task: ``bbox`` or ``segm``.
        image_ids: The images to evaluate; others do not count.
        category_ids: The categories to evaluate.
        thresholds: Also find the best thresholds, in a third of the time more.
        max_dets: The detections of each class in an image that count, the best ones; ``AR_100`` is
            the recall with so many.

    Returns:
        The figures; equal to pycocotools' to 1e-6.
    """
    # The library prints its progress and a table; the log has its own table.
    with garbage_collection_paused(), contextlib.redirect_stdout(io.StringIO()):
        return _evaluate(truth, results, task, image_ids, category_ids, thresholds, max_dets)


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pauses the garbage collector: it would scan hundreds of thousands of dicts without cycles."""
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
    thresholds: bool,
    max_dets: int,
) -> CocoFigures:
    truth, detections, images, categories = _renumber_ids(
        truth, results, task, image_ids, category_ids
    )
    coco_truth, coco_detections = COCO(truth), COCO({**truth, "annotations": detections})
    evaluation = COCOeval_faster(coco_truth, coco_detections, task)
    # One thread is the fastest: several hold Python's lock while they compute.
    evaluation.rle_iou_max_workers = 1
    evaluation.params.imgIds = images
    evaluation.params.catIds = categories
    evaluation.params.maxDets = [1, 10, max_dets]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    summary = {name: float(evaluation.stats[index]) for name, index in SUMMARY.items()}
    # The evaluation sorts the categories; the caller's order may differ.
    order = [list(evaluation.params.catIds).index(category) for category in categories]
    # (IoU thresholds, recall thresholds, categories, areas, detections per image)
    precision = evaluation.eval["precision"][:, :, order, 0, -1]
    per_class = {}
    for index, category in enumerate(category_ids):
        values = precision[:, :, index]
        values = values[values > -1]
        per_class[category] = float(np.mean(values)) if values.size else float("nan")
    best = _best_thresholds(evaluation) if thresholds else {}
    best = {old: best.get(new) for old, new in zip(category_ids, categories, strict=True)}
    return CocoFigures(summary, per_class, precision, best)


def _best_thresholds(evaluation: COCOeval_faster) -> dict[int, BestThreshold | None]:
    """The best thresholds by category; the evaluation is of no other use afterwards.

    Its matches are those of all its IoU thresholds and object sizes together, so it is repeated for
    one of them, with the IoUs that it has computed.
    """
    ious, params = evaluation.ious, evaluation.params
    evaluation.computeIoU = lambda image, category: ious[image, category]
    params.iouThrs, params.maxDets = np.array([F1_IOU]), params.maxDets[-1:]
    params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]  # all sizes
    evaluation.evaluate()
    pairs = (pair.split("_") for pair in evaluation.eval["matched"])
    matched = {int(detection): int(truth) for detection, truth in pairs}
    images, truth = set(params.imgIds), evaluation.cocoGt.anns
    of_category = {int(category): ([], []) for category in params.catIds}  # scores, correct
    objects = dict.fromkeys(of_category, 0)
    for annotation in truth.values():
        if annotation["image_id"] in images and annotation["category_id"] in objects:
            objects[annotation["category_id"]] += not annotation["iscrowd"]
    for detection in _counted(evaluation.cocoDt, images, params.maxDets[0]):
        found = matched.get(detection["id"])
        if found is not None and truth[found]["iscrowd"]:
            continue  # as in COCO's precision, neither right nor wrong
        scores, correct = of_category.get(detection["category_id"], ([], []))
        scores.append(detection["score"])
        correct.append(found is not None)
    return {
        category: find_best_threshold(np.array(scores), np.array(correct, bool), objects[category])
        for category, (scores, correct) in of_category.items()
    }


def _counted(detections: COCO, images: set[int], most: int) -> Iterator[dict]:
    """The detections that COCO counts: of each image and category the best ``most``."""
    seen = Counter()
    for detection in sorted(detections.anns.values(), key=lambda one: -one["score"]):
        place = detection["image_id"], detection["category_id"]
        seen[place] += 1
        if place[0] in images and seen[place] <= most:
            yield detection


def _renumber_ids(
    truth: dict,
    results: Sequence[dict],
    task: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> tuple[dict, list[dict], list[int], list[int]]:
    """Replaces all ids by numbers from 1 on, in the order of the ids.

    faster-coco-eval keeps ids in floats: it confuses ids above 2**53, fails on negative ones and
    takes the annotation id 0 for "no annotation". Its own reader of results also computes boxes
    around masks and draws masks of boxes, which no figure needs.

    Returns:
        The ground truth, the results as annotations, the image ids and the category ids.
    """
    images = _new_ids(image["id"] for image in truth["images"])
    categories = _new_ids(category["id"] for category in truth["categories"])
    annotations = _new_ids(annotation["id"] for annotation in truth["annotations"])
    renumbered = {
        "images": [{**image, "id": images[image["id"]]} for image in truth["images"]],
        "categories": [
            {**category, "id": categories[category["id"]]} for category in truth["categories"]
        ],
        "annotations": [
            {
                **annotation,
                "id": annotations[annotation["id"]],
                "image_id": images[annotation["image_id"]],
                "category_id": categories[annotation["category_id"]],
                "iscrowd": annotation.get("iscrowd") or 0,
            }
            for annotation in truth["annotations"]
        ],
    }
    detections = _to_annotations(results, task, images, categories)
    return (
        renumbered,
        detections,
        [images[image] for image in image_ids],
        [categories[category] for category in category_ids],
    )


def _to_annotations(
    results: Sequence[dict], task: str, images: dict[int, int], categories: dict[int, int]
) -> list[dict]:
    """Results as annotations with new ids."""
    shape_key = SHAPE_KEYS[task]
    shapes = [result[shape_key] for result in results]
    return [
        {
            "id": number,
            "image_id": images[result["image_id"]],
            "category_id": categories[result["category_id"]],
            "score": result["score"],
            shape_key: shape,
            "area": area,
            "iscrowd": 0,
        }
        for number, (result, shape, area) in enumerate(
            zip(results, shapes, SHAPE_AREAS[task](shapes), strict=True), start=1
        )
    ]


def count_beyond(entries: Iterable[dict], limit: int) -> int:
    """The truth or the results beyond ``limit`` of each class in an image; crowds do not count."""
    counts = Counter(
        (entry["image_id"], entry["category_id"]) for entry in entries if not entry.get("iscrowd")
    )
    return sum(max(0, count - limit) for count in counts.values())


def _new_ids(ids: Iterable[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(sorted(ids), start=1)}
