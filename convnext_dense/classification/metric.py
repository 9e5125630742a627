"""The metric of the classification configs: top-1, top-5 and loss, top-1 per class too."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine import dist
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from mmengine.registry import METRICS

SHOWN = 50  # classes up to which the log has a table


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """Share of pictures whose class is the first, or among the first five, of the prediction.

    Figures: ``top1`` and ``top5`` as fractions in [0, 1], ``loss`` (mean cross-entropy with the
    plain labels) and ``pictures``, how many were counted. With five classes or fewer ``top5``
    would be 1 whatever the model, and is left out. Processes add up their counts, so every
    picture that a sampler gives once is counted once. Those of each class go to the message hub
    as ``per_class`` (they end up in ``metrics.json``).

    Args:
        outfile: Also write every picture's prediction to this JSON file, with its probability
            (``score``) and the true class's (``class_score``).
        collect_device: As in mmengine.
        prefix: Put in front of the figures' names.
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

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Counts one batch; each sample has ``logits`` (num_classes,), ``label`` and ``path``."""
        if not data_samples:
            return
        logits = torch.stack([sample["logits"] for sample in data_samples]).float()
        labels = torch.stack([sample["label"] for sample in data_samples])
        best = logits.topk(min(5, logits.shape[1])).indices
        right = best == labels[:, None]
        losses = F.cross_entropy(logits, labels, reduction="none")
        # exp(-loss) is the true class's probability.
        columns = [labels, best[:, 0], right.any(1), losses, logits.softmax(1).amax(1)]
        table = torch.stack(columns, dim=1).double().cpu()
        paths = [sample["path"] for sample in data_samples] if self.outfile else []
        self.results.append((table, paths))

    def evaluate(self, size: int) -> dict[str, float]:
        """Adds up all batches of all processes; ``size``, the data set's, is not needed."""
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
    """The figures of all pictures; nan where there are none.

    Args:
        per_class: Right and all pictures of each class, (2, num_classes).
        sums: Pictures whose class is among the first five, and the sum of their losses.
    """
    right, total = per_class.sum(dim=1)
    figures = {"top1": (right / total).item(), "top5": (sums[0] / total).item()}
    if per_class.shape[1] <= 5:
        del figures["top5"]
    return {**figures, "loss": (sums[1] / total).item(), "pictures": int(total)}


def _report(classes: Sequence[str], per_class: torch.Tensor) -> None:
    """Logs top-1 of the classes, where they are few, and keeps it for ``metrics.json``."""
    shares = {
        name: {"top1": right / total if total else None}
        for name, right, total in zip(classes, *per_class.tolist(), strict=True)
    }
    MessageHub.get_current_instance().update_info("per_class", shares)
    if len(classes) <= SHOWN:
        width = max(map(len, classes))
        lines = [
            f"{name:{width}}  {'-' if row['top1'] is None else format(row['top1'], '.3f')}"
            for name, row in shares.items()
        ]
        print_log("top-1 per class\n" + "\n".join(lines), logger="current")


def _all_reduce(tensor: torch.Tensor) -> None:
    """Sums a CPU tensor over the processes, on the device that their backend needs."""
    if dist.get_world_size() > 1:
        there = tensor.to(dist.get_comm_device())
        dist.all_reduce(there)
        tensor.copy_(there)
