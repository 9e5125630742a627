"""Counting right answers on the pictures of one folder, for the suites of ``suites.py``."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from convnext_dense.classification.dataset import LabelledPictures, collate_pictures
from convnext_dense.classification.load_trained import TrainedClassifier
from convnext_dense.classification.robustness.corruption_tables import SEVERITIES
from convnext_dense.classification.robustness.corruptions import picture_seed
from convnext_dense.classification.robustness.suites import (
    Suite,
    folder_classes,
    real_labels,
    real_number,
    subset_indices,
)
from convnext_dense.classification.transforms import TestTransform
from convnext_dense.errors import UserError

UNREADABLE_LIMIT = 100  # pictures of one folder


@dataclass(frozen=True)
class Options:
    """What of a suite is evaluated, and how fast.

    Attributes:
        corrupt: Make the corruptions of ``c`` and ``cbar`` on the fly, of a plain image folder.
        corruptions: Which of them; all by default.
        severities: Which of 1 to 5.
        seed: Of corruptions made on the fly.
        limit: Evaluate the first pictures only, so many of each folder.
        batch_size: Pictures at a time.
        workers: Processes that read.
    """

    corrupt: bool = False
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    seed: int = 0
    limit: int | None = None
    batch_size: int = 64
    workers: int = 0


@dataclass
class Counts:
    """Pictures counted, and those whose class is the first, or among the first five."""

    pictures: int = 0
    top1: int = 0
    top5: int = 0
    classes: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, scores: Tensor, truth: Tensor) -> None:
        """Counts a batch.

        Args:
            scores: Logits (N, classes).
            truth: Which answers are right, bool (N, classes); pictures without any do not count.
        """
        counted = truth.any(1)
        scores, truth = scores[counted], truth[counted]
        best = scores.topk(min(5, scores.shape[1])).indices
        right = truth.gather(1, best)
        self.classes = scores.shape[1]
        self.pictures += len(right)
        self.top1 += int(right[:, 0].sum())
        self.top5 += int(right.any(1).sum())

    def figures(self) -> dict[str, Any]:
        """``top1``, ``error`` and, of more than five classes, ``top5``; ``pictures``."""
        figures = {"top1": self.top1 / self.pictures, "top5": self.top5 / self.pictures}
        figures["error"] = 1 - figures["top1"]
        if self.classes <= 5:
            del figures["top5"]
        return {**figures, "pictures": self.pictures, "unreadable": len(self.unreadable)}


def count(
    model: TrainedClassifier,
    folder: Path,
    suite: Suite,
    options: Options,
    transform: Callable | None = None,
    corruption: tuple[str, int] = ("", 0),
) -> Counts:
    """Counts right answers of the pictures of one folder.

    Args:
        model: The classifier.
        folder: Class folders.
        suite: What they are.
        options: Speed, limit and seed.
        transform: From an RGB picture to a tensor; by default the model's test transform.
        corruption: Name and severity, which the random numbers of the transform depend on.
    """
    names = folder_classes(suite, folder, model.classes)
    pictures = LabelledPictures(
        str(folder),
        "folder",
        transform or TestTransform(**model.transform),
        metainfo=dict(classes=names),
        test_mode=True,
        indices=options.limit,
        only_known=not suite.by_file,  # the others were refused or reported
    )
    loader = DataLoader(
        pictures,
        batch_size=options.batch_size,
        sampler=_seeded(pictures, folder, options.seed, corruption),
        num_workers=options.workers,
        collate_fn=collate_pictures,
    )
    if suite.by_file:  # a wrong name shows before the first batch
        for index in range(len(pictures)):
            real_number(pictures.reader.filename(index, absolute=True))
    counts, answers = Counts(), _answers(suite, model.classes)
    subset = subset_indices(suite)
    for batch in loader:
        counts.unreadable.extend(batch["unreadable"])
        if len(counts.unreadable) > UNREADABLE_LIMIT:
            path, reason = counts.unreadable[-1]
            raise UserError(
                f"{len(counts.unreadable)} pictures cannot be read, the last of them {path} "
                f"({reason}): mend the data."
            )
        if batch["paths"]:
            scores, truth = model.logits(batch), answers(batch)
            if subset is not None:
                scores, truth = scores[:, subset], truth[:, subset]
            counts.add(scores, truth)
    if not counts.pictures:
        raise UserError(f"{folder} holds no picture that can be evaluated.")
    return counts


def _answers(suite: Suite, classes: Sequence[str]) -> Callable[[Mapping[str, Any]], Tensor]:
    """Maps a batch to its right answers, bool (N, classes)."""
    if not suite.by_file:
        return lambda batch: F.one_hot(batch["targets"], len(classes)).bool()
    labels = real_labels()

    def by_file(batch: Mapping[str, Any]) -> Tensor:
        truth = torch.zeros(len(batch["paths"]), len(classes), dtype=torch.bool)
        for row, path in zip(truth, batch["paths"], strict=True):
            row[labels[real_number(path)]] = True
        return truth

    return by_file


def _seeded(
    pictures: LabelledPictures, folder: Path, seed: int, corruption: tuple[str, int]
) -> list[tuple[int, int]]:
    """Every picture once, with the seed that its transform draws from."""
    pairs = []
    for index in range(len(pictures)):
        place = os.path.relpath(pictures.reader.filename(index, absolute=True), folder)
        pairs.append((index, picture_seed(seed, *corruption, Path(place).as_posix())))
    return pairs
