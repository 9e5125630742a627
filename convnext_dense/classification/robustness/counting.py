"""Counting correct predictions on the images of one folder, for the suites of ``suites.py``."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from convnext_dense.classification.dataset import LabelledImages, collate_images
from convnext_dense.classification.load_trained import TrainedClassifier
from convnext_dense.classification.robustness.corruption_tables import SEVERITIES
from convnext_dense.classification.robustness.corruptions import image_seed
from convnext_dense.classification.robustness.suites import (
    Suite,
    folder_classes,
    real_labels,
    real_number,
    subset_indices,
)
from convnext_dense.classification.transforms import TestTransform
from convnext_dense.errors import UserError

UNREADABLE_LIMIT = 100  # images of one folder


@dataclass(frozen=True)
class Options:
    """Options of an evaluation.

    Attributes:
        corrupt: Compute the corruptions of ``c`` and ``cbar`` on the fly from a plain folder.
        corruptions: Names of the corruptions; all by default.
        severities: Severities, of 1 to 5.
        seed: Seed of corruptions computed on the fly.
        limit: Number of images to evaluate in each folder, from the first one on.
        batch_size: Images in a batch.
        workers: Number of worker processes.
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
    """Number of images, and of images whose class is the first or in the top 5."""

    images: int = 0
    top1: int = 0
    top5: int = 0
    classes: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def add(self, scores: Tensor, truth: Tensor) -> None:
        """Counts a batch.

        Args:
            scores: Logits (N, classes).
            truth: Correct answers, bool (N, classes); images without a correct answer are ignored.
        """
        counted = truth.any(1)
        scores, truth = scores[counted], truth[counted]
        best = scores.topk(min(5, scores.shape[1])).indices
        correct = truth.gather(1, best)
        self.classes = scores.shape[1]
        self.images += len(correct)
        self.top1 += int(correct[:, 0].sum())
        self.top5 += int(correct.any(1).sum())

    def add_unreadable(self, images: Sequence[tuple[str, str]]) -> None:
        """Stores unreadable images as (path, reason), and refuses too many."""
        self.unreadable.extend(images)
        if len(self.unreadable) > UNREADABLE_LIMIT:
            path, reason = self.unreadable[-1]
            raise UserError(
                f"{len(self.unreadable)} images cannot be read, the last of them {path} "
                f"({reason}): repair the data."
            )

    def figures(self) -> dict[str, Any]:
        """``top1``, ``top5`` (if there are more than five classes), ``error`` and two counts."""
        figures = {"top1": self.top1 / self.images, "top5": self.top5 / self.images}
        figures["error"] = 1 - figures["top1"]
        if self.classes <= 5:
            del figures["top5"]
        return {**figures, "pictures": self.images, "unreadable": len(self.unreadable)}


def count_folder(
    model: TrainedClassifier,
    folder: Path,
    suite: Suite,
    options: Options,
    transform: Callable | None = None,
    corruption: tuple[str, int] = ("", 0),
) -> Counts:
    """Counts the correct predictions for the images of one folder.

    Args:
        model: The classifier.
        folder: Folder with class folders.
        suite: The suite that the folder belongs to.
        options: Options of the evaluation.
        transform: From an RGB image to a tensor; by default the model's test transform.
        corruption: Name and severity; the random numbers of the transform depend on them.
    """
    names = folder_classes(suite, folder, model.classes)
    dataset = LabelledImages(
        str(folder),
        "folder",
        transform or TestTransform(**model.transform),
        metainfo=dict(classes=names),
        test_mode=True,
        indices=options.limit,
        only_known=not suite.by_file,  # other classes were refused or reported
    )
    loader = DataLoader(
        dataset,
        batch_size=options.batch_size,
        sampler=_with_seeds(dataset, folder, options.seed, corruption),
        num_workers=options.workers,
        collate_fn=collate_images,
    )
    if suite.by_file:  # wrong file names are refused before the first batch
        for index in range(len(dataset)):
            real_number(dataset.reader.filename(index, absolute=True))
    counts, answers = Counts(), _correct_answers(suite, model.classes)
    subset = subset_indices(suite)
    for batch in loader:
        counts.add_unreadable(batch["unreadable"])
        if batch["paths"]:
            scores, truth = model.logits(batch), answers(batch)
            if subset is not None:
                scores, truth = scores[:, subset], truth[:, subset]
            counts.add(scores, truth)
    if not counts.images:
        raise UserError(f"{folder} contains no image that can be evaluated.")
    return counts


def _correct_answers(suite: Suite, classes: Sequence[str]) -> Callable[[Mapping[str, Any]], Tensor]:
    """A function from a batch to its correct answers, bool (N, classes)."""
    if not suite.by_file:
        return lambda batch: F.one_hot(batch["targets"], len(classes)).bool()
    labels = real_labels()

    def by_file(batch: Mapping[str, Any]) -> Tensor:
        truth = torch.zeros(len(batch["paths"]), len(classes), dtype=torch.bool)
        for row, path in zip(truth, batch["paths"], strict=True):
            row[labels[real_number(path)]] = True
        return truth

    return by_file


def _with_seeds(
    dataset: LabelledImages, folder: Path, seed: int, corruption: tuple[str, int]
) -> list[tuple[int, int]]:
    """All indices of the dataset, each with the seed of its transform."""
    pairs = []
    for index in range(len(dataset)):
        path = os.path.relpath(dataset.reader.filename(index, absolute=True), folder)
        pairs.append((index, image_seed(seed, *corruption, Path(path).as_posix())))
    return pairs
