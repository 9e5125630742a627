"""What a test's results show, of whatever task: curves, a confusion matrix, pictures."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from convnext_dense.report.charts import Line

CURVES = 8  # classes up to which each has a curve of its own
BEST = 4  # pictures, and as many of the worst
POINTS = 200  # of a curve: more than a small chart has columns
WIDEST = 512  # pixels of a picture in the page


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each.

    Attributes:
        truth: Names of the rows.
        predicted: Names of the columns.
        counts: (rows, columns).
        unit: What is counted.
        how: One sentence on how truth and prediction were paired.
    """

    truth: list[str]
    predicted: list[str]
    counts: np.ndarray
    unit: str
    how: str

    @property
    def shares(self) -> np.ndarray:
        """Counts over the sum of their row; 0 in rows without any."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def mistakes(self, number: int) -> list[tuple[str, str, int, float]]:
        """The commonest: truth, prediction, count, share of the truth."""
        shares = self.shares
        found = [
            (self.truth[row], self.predicted[column], int(self.counts[row, column]),
             float(shares[row, column]))
            for row, column in np.argwhere(self.counts)
            if self.truth[row] != self.predicted[column]
        ]  # fmt: skip
        return sorted(found, key=lambda mistake: -mistake[2])[:number]


@dataclass(frozen=True)
class Shown:
    """A picture in the page.

    Attributes:
        views: Content as a data address, and a word on it: truth and prediction, or one.
        caption: A line below.
        legend: Names with their colours, as CSS writes them.
    """

    views: list[tuple[str, str]]
    caption: str
    legend: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Analysis:
    """What the page shows of a test's results.

    Attributes:
        curves: Charts of precision over recall: title and lines.
        curves_how: One sentence on what the curves are.
        confusion: None where there is no truth to compare with.
        best, worst: Pictures.
        pictures_how: One sentence on how they were chosen.
        notes: Sentences about what is missing.
    """

    curves: list[tuple[str, list[Line]]] = field(default_factory=list)
    curves_how: str = ""
    confusion: Confusion | None = None
    best: list[Shown] = field(default_factory=list)
    worst: list[Shown] = field(default_factory=list)
    pictures_how: str = ""
    notes: list[str] = field(default_factory=list)


def precision_recall(
    scores: np.ndarray, right: np.ndarray, positives: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision as the threshold falls; equal scores fall together.

    Args:
        scores: Confidence of each prediction (n,).
        right: Whether it is right (n,).
        positives: How many there were to find.

    Returns:
        Two arrays of the same length, a point for each distinct score; empty without any
        prediction or anything to find.
    """
    if not len(scores) or not positives:
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return found[last] / positives, found[last] / (last + 1)


def thinned(name: str, recall: np.ndarray, precision: np.ndarray, number: int) -> Line:
    """A curve with as many points as a chart can show."""
    places = np.unique(np.linspace(0, len(recall) - 1, POINTS).astype(int)) if len(recall) else []
    return Line(name, recall[places].tolist(), precision[places].tolist(), number)


def embed(picture: Image.Image) -> str:
    """A picture as a data address, no larger than a page needs."""
    picture = picture.convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def best_and_worst(rows: list[Any], rate: Callable[[Any], float], number: int) -> tuple[list, list]:
    """The highest and the lowest rated rows, best and worst first; no row is in both."""
    ranked = sorted(rows, key=rate, reverse=True)
    number = min(number, len(ranked) // 2 or len(ranked))
    return ranked[:number], ranked[number:][::-1][:number]


def css_colour(colour: np.ndarray) -> str:
    """An RGB colour as CSS writes it."""
    return "rgb({},{},{})".format(*map(int, colour))
