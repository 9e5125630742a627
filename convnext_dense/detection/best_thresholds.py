"""The score threshold of each class that maximises F1: found by an evaluation, read by predictions.

An evaluation puts them into ``metrics.json`` and, in a training, into the ``meta`` of the
checkpoints that it evaluated, in both under ``best_thresholds``. A test of the averaged weights
puts its own into ``meta`` under ``best_thresholds_ema``, and its ``metrics.json`` says ``ema``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convnext_dense.errors import UserError
from convnext_dense.weights.checkpoints import BEST_THRESHOLDS


@dataclass(frozen=True)
class BestThreshold:
    """The threshold of a class, and its figures where detections below it are left out.

    Attributes:
        threshold: Halfway between the lowest score that is kept and the next one, so that the last
            digit of a score does not matter.
        f1: Harmonic mean of precision and recall.
        precision: Share of the detections that match an object.
        recall: Share of the objects that a detection matches.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


def find_best_threshold(
    scores: np.ndarray, correct: np.ndarray, positives: int
) -> BestThreshold | None:
    """The threshold with the highest F1; of several, the highest threshold.

    Args:
        scores: Scores of the detections of a class (n,).
        correct: Whether a detection matches an object (n,).
        positives: Number of objects.

    Returns:
        None where no detection is correct, so that every threshold has an F1 of 0.
    """
    if not np.any(correct):
        return None
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(correct[order])
    kept = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the last of equal scores
    f1 = 2 * hits[kept] / (kept + 1 + positives)
    last = kept[np.argmax(f1)]
    below = scores[min(last + 1, len(scores) - 1)]
    return BestThreshold(
        threshold=float(scores[last] + below) / 2,
        f1=float(f1.max()),
        precision=float(hits[last] / (last + 1)),
        recall=float(hits[last] / positives),
    )


def to_plain(thresholds: Mapping[str, BestThreshold | None]) -> dict[str, dict[str, float]]:
    """Thresholds by class name as JSON holds them; classes without one are left out."""
    return {name: asdict(best) for name, best in thresholds.items() if best is not None}


def read_best_thresholds(
    content: Mapping[str, Any],
    classes: Sequence[str],
    source: str,
    work_dir: str | Path | None = None,
    ema: bool = False,
) -> dict[str, float]:
    """The thresholds that come with a checkpoint, by class name.

    Args:
        content: A result of ``read_checkpoint``.
        classes: The classes of the model.
        source: The checkpoint's name for the message.
        work_dir: The folder of a training or a test, whose ``metrics.json`` is read where the
            checkpoint has none.
        ema: Whether the model has the averaged weights: thresholds of others do not count.

    Returns:
        For each class that has one. A class that the evaluation never found has none.

    Raises:
        UserError: Where there are none, or they are not of these classes.
    """
    stored = (content.get("meta") or {}).get(BEST_THRESHOLDS)
    if not stored and work_dir is not None:
        metrics = _read_metrics(Path(work_dir) / "metrics.json")
        stored = metrics.get(BEST_THRESHOLDS) if bool(metrics.get("ema")) == ema else None
    if not stored:
        how = "the evaluation of a training, or convnext-dense test, computes them"
        if ema:
            how = "convnext-dense test --ema computes those of the averaged weights"
        raise UserError(f"There are no best thresholds in {source}: {how}. Give a number instead.")
    try:
        found = {str(name): float(best["threshold"]) for name, best in stored.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"The best thresholds in {source} cannot be read ({error!r}).") from error
    if strange := sorted(set(found) - set(classes)):
        raise UserError(
            f"The best thresholds in {source} are of other classes: the model has no {strange[0]}."
        )
    return found


def _read_metrics(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the caller says that there are none
    return content if isinstance(content, dict) else {}
