"""The analysis of a test's results for any task: curves, a confusion matrix, images."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from convnext_dense.report.charts import Line

MAX_CURVES = 8  # with more classes there is no curve for each class
NUM_BEST = 4  # number of best images, and of worst images
MAX_POINTS = 200  # of a curve; more than a small chart has columns
MAX_SIDE = 512  # pixels of an image in the page


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        truth: Names of the rows.
        predicted: Names of the columns.
        counts: (rows, columns).
        unit: Name of the counted objects.
        note: A sentence that explains how ground truth and prediction were matched.
    """

    truth: list[str]
    predicted: list[str]
    counts: np.ndarray
    unit: str
    note: str

    @property
    def shares(self) -> np.ndarray:
        """Counts divided by the sum of their row; 0 in empty rows."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def mistakes(self, number: int) -> list[tuple[str, str, int, float]]:
        """The most frequent mistakes: true class, prediction, count, share of the true class."""
        shares = self.shares
        mistakes = [
            (self.truth[row], self.predicted[column], int(self.counts[row, column]),
             float(shares[row, column]))
            for row, column in np.argwhere(self.counts)
            if self.truth[row] != self.predicted[column]
        ]  # fmt: skip
        return sorted(mistakes, key=lambda mistake: -mistake[2])[:number]


@dataclass(frozen=True)
class ImageFigure:
    """An image in the page.

    Attributes:
        views: (data URL, label) of ground truth and prediction, or of a single image.
        caption: Line below the image.
        legend: Names with their CSS colours.
    """

    views: list[tuple[str, str]]
    caption: str
    legend: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Analysis:
    """The analysis of a test's results, as the page shows it.

    Attributes:
        curves: Charts of precision over recall: (title, lines).
        curves_note: A sentence that explains the curves.
        confusion: The confusion matrix; None without ground truth.
        best, worst: Images with the best and the worst predictions.
        images_note: A sentence that explains how the images were selected.
        notes: Sentences about missing or inconsistent data.
    """

    curves: list[tuple[str, list[Line]]] = field(default_factory=list)
    curves_note: str = ""
    confusion: Confusion | None = None
    best: list[ImageFigure] = field(default_factory=list)
    worst: list[ImageFigure] = field(default_factory=list)
    images_note: str = ""
    notes: list[str] = field(default_factory=list)


def precision_recall(
    scores: np.ndarray, correct: np.ndarray, positives: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision for a decreasing score threshold.

    Args:
        scores: Confidence of each prediction (n,).
        correct: Whether the prediction is correct (n,).
        positives: Number of true objects.

    Returns:
        Two arrays of the same length, with a point for each distinct score; empty without
        predictions or true objects.
    """
    if not len(scores) or not positives:
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    num_correct = np.cumsum(correct[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return num_correct[last] / positives, num_correct[last] / (last + 1)


def thin_out(name: str, recall: np.ndarray, precision: np.ndarray, number: int) -> Line:
    """A curve with at most as many points as a chart can show."""
    indices = (
        np.unique(np.linspace(0, len(recall) - 1, MAX_POINTS).astype(int)) if len(recall) else []
    )
    return Line(name, recall[indices].tolist(), precision[indices].tolist(), number)


def to_data_url(image: Image.Image) -> str:
    """An image as a data URL, reduced to the size that the page needs."""
    image = image.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def best_and_worst(rows: list[Any], rate: Callable[[Any], float], number: int) -> tuple[list, list]:
    """The best rows, best first, and the worst rows, worst first; no row is in both."""
    ranked = sorted(rows, key=rate, reverse=True)
    number = min(number, len(ranked) // 2 or len(ranked))
    return ranked[:number], ranked[number:][::-1][:number]


def css_colour(colour: np.ndarray) -> str:
    """An RGB colour in CSS."""
    return "rgb({},{},{})".format(*map(int, colour))
