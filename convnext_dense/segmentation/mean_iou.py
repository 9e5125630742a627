"""The metric of the segmentation configs: mean IoU and accuracies, per class too."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from mmengine.registry import METRICS

from convnext_dense.runs.console import short_table
from convnext_dense.segmentation.image_results import image_results
from convnext_dense.text_table import format_columns


@METRICS.register_module()
class MeanIoUMetric(BaseMetric):
    """Mean intersection over union of all pixels of all images, as fractions in [0, 1].

    Figures: ``mIoU``, ``mAcc`` (mean recall of the classes) and ``aAcc`` (share of correct
    pixels). A class that occurs neither in the ground truth nor in the predictions has no IoU and
    is left out of the mean; a class that is only predicted has IoU 0. The figures of each class go
    to the message hub as ``per_class`` and from there into ``metrics.json``.

    Args:
        ignore_index: Label of ignored pixels.
        outfile: Also write the figures of each image to this JSON file, with its confusion,
            confidence and labels (:mod:`convnext_dense.segmentation.image_results`).
        collect_device: As in mmengine.
        prefix: Prefix of the figures' names.
    """

    default_prefix = "seg"

    def __init__(
        self,
        ignore_index: int = 255,
        outfile: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ignore_index = ignore_index
        self.outfile = outfile

    @staticmethod
    def figure_names(settings: Mapping[str, Any], num_classes: int | None) -> list[str]:
        """The figures of an evaluator with these settings, without prefix, the main one first."""
        return ["mIoU", "mAcc", "aAcc"]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Counts the pixels of each class in each image of a batch."""
        classes = self.dataset_meta["classes"]
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze(0)
            truth = sample["gt_sem_seg"]["data"].squeeze(0).to(predicted.device)
            areas = count_areas(predicted, truth, len(classes), self.ignore_index)
            row = {}
            if self.outfile:
                row = {"img_path": sample["img_path"], **summary(areas)}
                row |= image_results(sample, predicted, truth, classes, self.ignore_index)
            self.results.append((row, areas.cpu()))

    def compute_metrics(self, results: list[tuple[dict, torch.Tensor]]) -> dict[str, float]:
        """Computes the figures from the sums over all images."""
        total = torch.stack([areas for _, areas in results]).sum(dim=0)
        iou, recall = class_figures(total)
        per_class = {
            name: {"IoU": _none_if_nan(class_iou), "Acc": _none_if_nan(class_recall)}
            for name, class_iou, class_recall in zip(
                self.dataset_meta["classes"], iou.tolist(), recall.tolist(), strict=True
            )
        }
        MessageHub.get_current_instance().update_info("per_class", per_class)
        print_log(short_table(format_per_class(per_class)), logger="current")
        if self.outfile:
            rows = [{key: _none_if_nan(value) for key, value in row.items()} for row, _ in results]
            Path(self.outfile).parent.mkdir(parents=True, exist_ok=True)
            Path(self.outfile).write_text(json.dumps(rows))
        return summary(total)


def count_areas(
    predicted: torch.Tensor, truth: torch.Tensor, num_classes: int, ignore_index: int
) -> torch.Tensor:
    """Counts each class's correct, predicted and true pixels; (3, num_classes), int64.

    Args:
        predicted: Predicted labels (H, W).
        truth: True labels (H, W); ``ignore_index`` marks ignored pixels.
        num_classes: Number of classes.
        ignore_index: See ``truth``.
    """
    valid = truth != ignore_index
    predicted, truth = predicted[valid].long(), truth[valid].long()
    correct = truth[truth == predicted]
    return torch.stack(
        [torch.bincount(labels, minlength=num_classes) for labels in (correct, predicted, truth)]
    )


def class_figures(areas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and recall of each class (num_classes,) from areas (3, num_classes); nan for 0 / 0."""
    correct, predicted, true = areas.double()
    return correct / (predicted + true - correct), correct / true


def summary(areas: torch.Tensor) -> dict[str, float]:
    """mIoU, mAcc and aAcc of areas (3, num_classes); nan without valid pixels."""
    iou, recall = class_figures(areas)
    correct, _, true = areas.double().sum(dim=1)
    return {
        "mIoU": iou.nanmean().item(),
        "mAcc": recall.nanmean().item(),
        "aAcc": (correct / true).item(),
    }


def format_per_class(per_class: dict[str, dict[str, float | None]]) -> str:
    """A text table of the classes that occur: a row for each class, with IoU and accuracy."""
    rows = [
        (name, f"{row['IoU']:.3f}", "-" if row["Acc"] is None else f"{row['Acc']:.3f}")
        for name, row in per_class.items()
        if row["IoU"] is not None
    ]
    lines = format_columns([("class", "IoU", "Acc"), *rows], ("<", ">5", ">5"))
    return "IoU per class\n" + "\n".join(lines)


def _none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
