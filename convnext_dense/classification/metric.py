"""The metric of the classification configs: top-1, top-5 and loss, top-1 per class too."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine import dist
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from mmengine.registry import METRICS

from convnext_dense.runs.console import short_table
from convnext_dense.text_table import format_columns

TOP = 5  # predictions that top-5 looks at
MAX_LOGGED_CLASSES = 50  # with more classes the log has no table


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """Top-1 and top-5 accuracy.

    Figures: ``top1`` and ``top5`` as fractions in [0, 1], ``loss`` (mean cross-entropy with the
    labels, without smoothing) and ``pictures`` (number of images). With five classes or fewer,
    ``top5`` is always 1 and is left out. The counts are summed over the processes, so each image
    is counted as often as the sampler gives it. The figures of each class go to the message hub as
    ``per_class`` and from there into ``metrics.json``.

    Args:
        outfile: Also write the prediction of each image to this JSON file, with its probability
            (``score``) and that of the true class (``class_score``).
        collect_device: As in mmengine.
        prefix: Prefix of the figures' names.
    """

    default_prefix = "cls"

    def __init__(
        self,
        outfile: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.outfile = outfile

    @staticmethod
    def figure_names(settings: Mapping[str, Any], num_classes: int | None) -> list[str]:
        """The scores of an evaluator with these settings, without prefix, the main one first."""
        few = num_classes is not None and num_classes <= TOP
        return ["top1", "loss"] if few else ["top1", "top5", "loss"]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Counts one batch; each sample has ``logits`` (num_classes,), ``label`` and ``path``."""
        if not data_samples:
            return
        logits = torch.stack([sample["logits"] for sample in data_samples]).float()
        labels = torch.stack([sample["label"] for sample in data_samples])
        best = logits.topk(min(TOP, logits.shape[1])).indices
        correct = best == labels[:, None]
        losses = F.cross_entropy(logits, labels, reduction="none")
        # exp(-loss) is the probability of the true class.
        columns = [labels, best[:, 0], correct.any(1), losses, logits.softmax(1).amax(1)]
        table = torch.stack(columns, dim=1).double().cpu()
        paths = [sample["path"] for sample in data_samples] if self.outfile else []
        self.results.append((table, paths))

    def evaluate(self, size: int) -> dict[str, float]:
        """Computes the figures over all batches and processes; ``size`` is not used."""
        classes = self.dataset_meta["classes"]
        tables = [table for table, _ in self.results] or [torch.zeros(0, 5, dtype=torch.double)]
        table = torch.cat(tables)
        labels = table[:, 0].long()
        top1 = (table[:, 0] == table[:, 1]).double()
        per_class = torch.zeros(2, len(classes), dtype=torch.double)
        per_class[0].index_add_(0, labels, top1)
        per_class[1].index_add_(0, labels, torch.ones_like(top1))
        sums = torch.stack([table[:, 2].sum(), table[:, 3].sum()])
        for tensor in (per_class, sums):
            _all_reduce(tensor)
        if self.outfile:
            self._write(classes)
        self.results.clear()
        figures = summary(per_class, sums)
        _report(classes, per_class)
        return {f"{self.prefix}/{name}": value for name, value in figures.items()}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Not used: :meth:`evaluate` adds up counts instead of collecting results."""
        raise NotImplementedError

    def _write(self, classes: Sequence[str]) -> None:
        rows = [
            {
                "path": path,
                "class": classes[int(row[0])],
                "predicted": classes[int(row[1])],
                "score": float(row[4]),
                "class_score": math.exp(-row[3]),
            }
            for table, paths in self.results
            for path, row in zip(paths, table, strict=True)
        ]
        gathered = dist.collect_results(rows, 10**9, self.collect_device)
        if dist.is_main_process():
            Path(self.outfile).parent.mkdir(parents=True, exist_ok=True)
            Path(self.outfile).write_text(json.dumps(gathered, indent=1, ensure_ascii=False))


def summary(per_class: torch.Tensor, sums: torch.Tensor) -> dict[str, float]:
    """The figures of all images; nan without images.

    Args:
        per_class: Number of correct images and of all images of each class, (2, num_classes).
        sums: Number of images whose class is in the top 5, and the sum of all losses.
    """
    correct, total = per_class.sum(dim=1)
    figures = {"top1": (correct / total).item(), "top5": (sums[0] / total).item()}
    if per_class.shape[1] <= TOP:
        del figures["top5"]
    return {**figures, "loss": (sums[1] / total).item(), "pictures": int(total)}


def _report(classes: Sequence[str], per_class: torch.Tensor) -> None:
    """Logs top-1 of each class, unless there are many, and stores it for ``metrics.json``."""
    top1 = {
        name: {"top1": correct / total if total else None}
        for name, correct, total in zip(classes, *per_class.tolist(), strict=True)
    }
    MessageHub.get_current_instance().update_info("per_class", top1)
    if len(classes) <= MAX_LOGGED_CLASSES:
        rows = [
            (name, "-" if row["top1"] is None else f"{row['top1']:.3f}")
            for name, row in top1.items()
        ]
        lines = format_columns(rows, ("<", "<"))
        print_log(short_table("top-1 per class\n" + "\n".join(lines)), logger="current")


def _all_reduce(tensor: torch.Tensor) -> None:
    """Sums a CPU tensor over the processes, on the backend's device."""
    if dist.get_world_size() > 1:
        on_device = tensor.to(dist.get_comm_device())
        dist.all_reduce(on_device)
        tensor.copy_(on_device)
