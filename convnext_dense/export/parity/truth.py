"""Average precision and mean IoU of both models, on annotations or on the first one's results."""

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.export.parity.pictures import Pictures
from convnext_dense.inference.results import DetectionResult

BOX = "box AP"
CONFIDENT = 0.3  # score from which a detection stands for an object, where nothing is annotated
MOST = 20  # detections an image that do so where none is confident


def average_precision(
    ours: Sequence[DetectionResult], theirs: Sequence[DetectionResult], pictures: Pictures
) -> Iterator[tuple[str, float, float]]:
    """Yields the name of a figure, and its value for both.

    Without annotations the confident detections of the first model are the truth.
    """
    ids = pictures.ids or tuple(range(1, len(ours) + 1))
    truth = pictures.truth or _as_truth(ours, ids)
    numbers = {category["name"]: category["id"] for category in truth.dataset["categories"]}
    kinds = [("bbox", BOX), *([("segm", "mask AP")] if ours[0].rles is not None else [])]
    for kind, name in kinds:
        figures = [
            _evaluate(truth, _entries(found, ids, numbers), ids, kind) for found in (ours, theirs)
        ]
        yield name, *figures


def _evaluate(truth: COCO, entries: list[dict], ids: Sequence[int], kind: str) -> float:
    if not entries:
        return 0.0
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(entries), kind)
        evaluation.params.imgIds = list(ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return max(0.0, float(evaluation.stats[0]))


def _entries(
    found: Sequence[DetectionResult], ids: Sequence[int], numbers: dict[str, int]
) -> list[dict]:
    """Detections in COCO's result format."""
    entries = []
    for key, result in zip(ids, found, strict=True):
        for row, (left, top, right, bottom) in enumerate(result.boxes.tolist()):
            entry = dict(
                image_id=key,
                category_id=numbers[result.names[row]],
                bbox=[left, top, right - left, bottom - top],
                score=float(result.scores[row]),
            )
            if result.rles is not None:
                entry["segmentation"] = result.rles[row]
            entries.append(entry)
    return entries


def _as_truth(found: Sequence[DetectionResult], ids: Sequence[int]) -> COCO:
    classes = found[0].classes
    truth = COCO()
    annotations = []
    for key, result in zip(ids, found, strict=True):
        kept = result.instances.select(result.scores >= CONFIDENT)
        if not len(kept):
            kept = result.instances.select(np.arange(min(MOST, len(result))))
        for row, (left, top, right, bottom) in enumerate(kept.boxes.tolist()):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=key,
                    category_id=int(kept.labels[row]) + 1,
                    bbox=[left, top, right - left, bottom - top],
                    area=(right - left) * (bottom - top),
                    iscrowd=0,
                    **({"segmentation": kept.masks[row]} if kept.masks is not None else {}),
                )
            )
    truth.dataset = dict(
        info={},
        images=[
            dict(id=key, height=result.size[0], width=result.size[1])
            for key, result in zip(ids, found, strict=True)
        ],
        annotations=annotations,
        categories=[dict(id=label + 1, name=name) for label, name in enumerate(classes)],
    )
    with redirect_stdout(StringIO()):
        truth.createIndex()
    return truth


def mean_iou(
    found: Sequence[np.ndarray], truth: Sequence[np.ndarray], classes: int, ignored: int = 255
) -> float:
    """Mean IoU of label maps over the classes that occur in either; 255 is ignored."""
    table = np.zeros((classes, classes), np.int64)
    for labels, true in zip(found, truth, strict=True):
        seen = (true != ignored) & (true < classes)
        pairs = true[seen].astype(np.int64) * classes + labels[seen]
        table += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    both = table.diagonal()
    either = table.sum(0) + table.sum(1) - both
    present = either > 0
    return float((both[present] / either[present]).mean()) if present.any() else 0.0
