"""The metric of the segmentation configs: mean IoU and accuracies, per class too."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from mmengine.registry import METRICS

from convnext_dense.segmentation.image_results import picture_results


@METRICS.register_module()
class MeanIoUMetric(BaseMetric):
    """Mean intersection over union of all pixels of all pictures, as fractions in [0, 1].

    Figures: ``mIoU``, ``mAcc`` (mean recall of the classes) and ``aAcc`` (share of pixels that
    are right). A class that neither the truth nor the prediction of any picture shows has no IoU
    and is left out of the mean; one that is only predicted has 0. Those of each class go to the
    message hub as ``per_class`` (they end up in ``metrics.json``).

    Args:
        ignore_index: Label of pixels that do not count.
        outfile: Also write every picture's own figures to this JSON file, with its confusions,
            confidence and labels (:func:`convnext_dense.segmentation.image_results`).
        collect_device: As in mmengine.
        prefix: Put in front of the figures' names.
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

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps the three counts a class of every picture."""
        classes = self.dataset_meta["classes"]
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze(0)
            truth = sample["gt_sem_seg"]["data"].squeeze(0).to(predicted.device)
            areas = count_areas(predicted, truth, len(classes), self.ignore_index)
            row = {}
            if self.outfile:
                row = {"img_path": sample["img_path"], **summary(areas)}
                row |= picture_results(sample, predicted, truth, classes, self.ignore_index)
            self.results.append((row, areas.cpu()))

    def compute_metrics(self, results: list[tuple[dict, torch.Tensor]]) -> dict[str, float]:
        """Adds up all pictures and divides once."""
        total = torch.stack([areas for _, areas in results]).sum(dim=0)
        iou, recall = class_figures(total)
        per_class = {
            name: {"IoU": _none_if_nan(one), "Acc": _none_if_nan(other)}
            for name, one, other in zip(
                self.dataset_meta["classes"], iou.tolist(), recall.tolist(), strict=True
            )
        }
        MessageHub.get_current_instance().update_info("per_class", per_class)
        print_log(format_per_class(per_class), logger="current")
        if self.outfile:
            pictures = [{k: _none_if_nan(v) for k, v in row.items()} for row, _ in results]
            Path(self.outfile).parent.mkdir(parents=True, exist_ok=True)
            Path(self.outfile).write_text(json.dumps(pictures))
        return summary(total)


def count_areas(
    predicted: torch.Tensor, truth: torch.Tensor, num_classes: int, ignore_index: int
) -> torch.Tensor:
    """Counts the pixels of each class: rows right, predicted, true; (3, num_classes), int64.

    Args:
        predicted: Predicted labels (H, W).
        truth: True labels (H, W); ``ignore_index`` marks pixels that do not count.
        num_classes: Number of classes.
        ignore_index: See ``truth``.
    """
    counts = truth != ignore_index
    predicted, truth = predicted[counts].long(), truth[counts].long()
    right = truth[truth == predicted]
    return torch.stack(
        [torch.bincount(labels, minlength=num_classes) for labels in (right, predicted, truth)]
    )


def class_figures(areas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and recall of each class (num_classes,) from areas (3, num_classes); nan for 0 / 0."""
    right, predicted, true = areas.double()
    return right / (predicted + true - right), right / true


def summary(areas: torch.Tensor) -> dict[str, float]:
    """The three figures of areas (3, num_classes); nan where no pixel counts."""
    iou, recall = class_figures(areas)
    right, _, true = areas.double().sum(dim=1)
    return {
        "mIoU": iou.nanmean().item(),
        "mAcc": recall.nanmean().item(),
        "aAcc": (right / true).item(),
    }


def format_per_class(per_class: dict[str, dict[str, float | None]]) -> str:
    """A plain table of the classes that occur: one class a line, IoU and accuracy."""
    width = max(map(len, per_class))
    lines = [f"{'class':{width}}    IoU    Acc"]
    for name, row in per_class.items():
        if row["IoU"] is not None:
            recall = "-" if row["Acc"] is None else f"{row['Acc']:.3f}"
            lines.append(f"{name:{width}}  {row['IoU']:.3f}  {recall:>5}")
    return "IoU per class\n" + "\n".join(lines)


def _none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
