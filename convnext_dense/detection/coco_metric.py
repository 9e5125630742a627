"""The metric of the detection configs: COCO box and mask AP, per class too."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from mmengine.registry import METRICS

from convnext_dense.data.coco.evaluation_limits import MAX_DETS
from convnext_dense.data.text_files import read_json
from convnext_dense.detection.best_thresholds import to_plain
from convnext_dense.detection.coco_eval import (
    SUMMARY,
    CocoFigures,
    count_beyond,
    evaluate_coco,
    garbage_collection_paused,
)
from convnext_dense.detection.rle import encode_masks
from convnext_dense.errors import UserError
from convnext_dense.runs.console import short_table
from convnext_dense.text_table import format_columns
from convnext_dense.weights.checkpoints import BEST_THRESHOLDS

TASKS = ("bbox", "segm")


@METRICS.register_module()
class CocoInstanceMetric(BaseMetric):
    """COCO average precision of boxes and masks by faster-coco-eval.

    Only the tested images count, so a test with a limit is not biased. The figures of each class
    go to the message hub as ``per_class`` and from there into ``metrics.json``; so do the score
    thresholds with the highest F1, as ``best_thresholds``: of boxes, or of masks where ``metric``
    is these alone.

    Args:
        ann_file: COCO annotation file; the engine fills in that of the evaluated dataset.
        metric: ``bbox``, ``segm`` or both.
        outfile: Also write the results in COCO format to this file.
        max_dets: Detections of each class in an image that a second set of figures counts, such as
            ``bbox_mAP_max300``. COCO's figures count the best 100 and stay what they are.
        collect_device: As in mmengine.
        prefix: Prefix of the figures' names.
    """

    default_prefix = "coco"

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = TASKS,
        outfile: str | None = None,
        max_dets: int | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        if unknown := set(self.metrics) - set(TASKS):
            raise UserError(f"metric must be one of {', '.join(TASKS)}, got {sorted(unknown)}.")
        if max_dets is not None and (type(max_dets) is not int or max_dets <= MAX_DETS):
            raise UserError(
                f"max_dets must be a whole number above {MAX_DETS}, which COCO's figures count, "
                f"got {max_dets!r}."
            )
        self.max_dets = max_dets
        self.ann_file = ann_file
        self.outfile = outfile

    @staticmethod
    def figure_names(settings: Mapping[str, Any], num_classes: int | None) -> list[str]:
        """The figures of an evaluator with these settings, without prefix, the main ones first."""
        tasks = settings.get("metric", TASKS)
        tasks = [tasks] if isinstance(tasks, str) else list(tasks)
        most = settings.get("max_dets")
        lifted = [f"{name}_max{most}" for name in SUMMARY if name.startswith("mAP")]
        names = [*SUMMARY, *([f"AR_{most}", *lifted] if most else [])]
        return [f"{task}_{name}" for task in tasks for name in names]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Stores the predictions of one batch on the CPU, with masks as RLE.

        A test in tiles has encoded them already.
        """
        for sample in data_samples:
            predicted = sample["pred_instances"]
            masks = predicted.get("masks")
            self.results.append(
                {
                    "img_id": sample["img_id"],
                    "bboxes": predicted["bboxes"].cpu().numpy(),
                    "scores": predicted["scores"].cpu().numpy(),
                    "labels": predicted["labels"].cpu().numpy(),
                    "masks": masks if masks is None or _is_encoded(masks) else encode_masks(masks),
                }
            )

    @garbage_collection_paused()
    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compares all predictions with the annotation file."""
        truth = read_json(self.ann_file)
        ids = {category["name"]: category["id"] for category in truth["categories"]}
        classes = self.dataset_meta["classes"]
        category_ids = [ids[name] for name in classes]
        image_ids = sorted({result["img_id"] for result in results})
        detections = [
            detection for result in results for detection in to_coco(result, category_ids)
        ]
        if self.outfile:
            Path(self.outfile).parent.mkdir(parents=True, exist_ok=True)
            Path(self.outfile).write_text(json.dumps(detections))
            if not truth.get("annotations"):
                print_log(
                    f"{self.ann_file} has no annotations, as that of a test server: the results "
                    f"are in {self.outfile}, and there are no figures.",
                    logger="current",
                )
                return {}
        truth.setdefault("annotations", [])
        figures_by_task: dict[str, CocoFigures] = {
            task: evaluate_coco(
                truth, detections, task, image_ids, category_ids, thresholds=task == self.metrics[0]
            )
            for task in self.metrics
        }
        per_class = {
            name: {
                f"{task}_mAP": _none_if_nan(figures.per_class[ids[name]])
                for task, figures in figures_by_task.items()
            }
            for name in classes
        }
        hub = MessageHub.get_current_instance()
        hub.update_info("per_class", per_class)
        best = figures_by_task[self.metrics[0]].best_thresholds
        hub.update_info(BEST_THRESHOLDS, to_plain({name: best[ids[name]] for name in classes}))
        print_log(short_table(format_per_class(per_class)), logger="current")
        return {
            **{
                f"{task}_{name}": value
                for task, figures in figures_by_task.items()
                for name, value in figures.summary.items()
            },
            **self._lifted(truth, detections, image_ids, category_ids),
        }

    def _lifted(
        self,
        truth: dict,
        detections: list[dict],
        image_ids: Sequence[int],
        category_ids: Sequence[int],
    ) -> dict[str, float]:
        """The figures with ``max_dets``; without it, what COCO's figures leave out, as numbers."""
        if self.max_dets is None:
            return _say_beyond(truth, detections, image_ids, category_ids)
        lifted = {}
        for task in self.metrics:
            summary = evaluate_coco(
                truth, detections, task, image_ids, category_ids, max_dets=self.max_dets
            ).summary
            lifted[f"{task}_AR_{self.max_dets}"] = summary["AR_100"]
            names = (name for name in summary if name.startswith("mAP"))
            lifted.update({f"{task}_{name}_max{self.max_dets}": summary[name] for name in names})
        return lifted


def _say_beyond(
    truth: dict, detections: list[dict], image_ids: Sequence[int], category_ids: Sequence[int]
) -> dict[str, int]:
    """Objects and detections that COCO's figures do not count; nothing where they count all."""
    images, categories = set(image_ids), set(category_ids)
    objects = [
        one
        for one in truth["annotations"]
        if one["image_id"] in images and one["category_id"] in categories
    ]
    beyond = dict(
        objects_not_counted=count_beyond(objects, MAX_DETS),
        detections_not_counted=count_beyond(detections, MAX_DETS),
    )
    if not any(beyond.values()):
        return {}
    print_log(
        f"COCO's figures count {MAX_DETS} detections of each class in an image: "
        f"{beyond['objects_not_counted']:,} objects and {beyond['detections_not_counted']:,} "
        "detections are beyond that. The evaluator's max_dets=N counts N, beside COCO's figures.",
        logger="current",
    )
    return beyond


def to_coco(result: dict, category_ids: Sequence[int]) -> list[dict]:
    """COCO result dicts of one image, with boxes as (x, y, width, height) instead of xyxy."""
    boxes = np.asarray(result["bboxes"], dtype=float)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    columns = (result[name].tolist() for name in ("labels", "scores"))
    detections = [
        {
            "image_id": result["img_id"],
            "category_id": category_ids[label],
            "bbox": box,
            "score": score,
        }
        for box, label, score in zip(boxes.tolist(), *columns, strict=True)
    ]
    if result["masks"] is not None:
        for detection, mask in zip(detections, result["masks"], strict=True):
            detection["segmentation"] = mask
    return detections


def format_per_class(per_class: dict[str, dict[str, float | None]]) -> str:
    """A text table of the classes that occur: a row for each class, a column for each task."""
    per_class = {name: row for name, row in per_class.items() if set(row.values()) != {None}}
    if not per_class:
        return "AP per class: no class occurs in these images."
    tasks = list(next(iter(per_class.values())))
    rows = [
        (name, *("-" if row[task] is None else f"{row[task]:.3f}" for task in tasks))
        for name, row in per_class.items()
    ]
    lines = format_columns([("class", *tasks), *rows], ["<", *[">"] * len(tasks)])
    return "AP per class\n" + "\n".join(lines)


def _is_encoded(masks: Any) -> bool:
    return isinstance(masks, list)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
