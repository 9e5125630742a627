"""What a test writes of one picture: which class was taken for which, how surely, and the labels.

All of it is plain JSON, so that results can be looked at without the model or the data.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

BINS = 20  # of confidence, equal parts of [0, 1]


def picture_results(
    sample: Mapping[str, Any],
    predicted: torch.Tensor,
    truth: torch.Tensor,
    classes: Sequence[str],
    ignore_index: int,
) -> dict[str, Any]:
    """Describes one prediction.

    Args:
        sample: The data sample; ``seg_logits`` (num_classes, H, W) are used where it has them.
        predicted: Predicted labels (H, W).
        truth: True labels (H, W); ``ignore_index`` marks pixels that do not count.
        classes: Names, by label.
        ignore_index: See ``truth``.

    Returns:
        ``confusion``, a list of [true class, predicted class, pixels]; ``confidence``, for each
        predicted class two lists of pixels by their probability (:data:`BINS` bins from 0 to 1),
        the right ones and the wrong ones (with ``seg_logits`` of two classes or more);
        ``labels``, the predicted labels as a PNG in base64.
    """
    found = {"confusion": confusion(predicted, truth, classes, ignore_index)}
    logits = (sample.get("seg_logits") or {}).get("data")
    if logits is not None and len(logits) > 1:
        surely = logits.float().softmax(0).amax(0)
        found["confidence"] = confidence(surely, predicted, truth, classes, ignore_index)
    return {**found, "labels": encode_labels(predicted)}


def confusion(
    predicted: torch.Tensor, truth: torch.Tensor, classes: Sequence[str], ignore_index: int
) -> list[tuple[str, str, int]]:
    """Counts the pixels of each pair of classes that occurs: truth, prediction, pixels."""
    counts = truth != ignore_index
    codes = truth[counts].long() * len(classes) + predicted[counts].long()
    pairs = zip(*(part.tolist() for part in codes.unique(return_counts=True)), strict=True)
    return [(classes[c // len(classes)], classes[c % len(classes)], n) for c, n in pairs]


def confidence(
    surely: torch.Tensor,
    predicted: torch.Tensor,
    truth: torch.Tensor,
    classes: Sequence[str],
    ignore_index: int,
) -> dict[str, list[list[int]]]:
    """Counts each predicted class's right and wrong pixels by their probability (H, W)."""
    counts = truth != ignore_index
    bins = (surely[counts] * BINS).long().clamp(0, BINS - 1)
    labels = predicted[counts].long()
    wrong = (labels != truth[counts]).long()
    codes = (labels * 2 + wrong) * BINS + bins
    table = torch.bincount(codes, minlength=len(classes) * 2 * BINS)
    table = table.reshape(len(classes), 2, BINS)
    return {classes[label]: table[label].tolist() for label in labels.unique().tolist()}


def encode_labels(labels: torch.Tensor) -> str:
    """Labels (H, W) as a PNG of one channel, in base64; up to 256 classes are 8 bits deep."""
    array = labels.cpu().numpy()
    array = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
    return base64.b64encode(cv2.imencode(".png", array)[1]).decode()
