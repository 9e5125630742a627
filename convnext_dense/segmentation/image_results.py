"""Results of one tested image: confusion of the classes, confidence, and the predicted labels.

All of it is plain JSON, so that the results can be read without the model or the data.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

BINS = 20  # of confidence, of equal width in [0, 1]


def image_results(
    sample: Mapping[str, Any],
    predicted: torch.Tensor,
    truth: torch.Tensor,
    classes: Sequence[str],
    ignore_index: int,
) -> dict[str, Any]:
    """Describes one prediction.

    Args:
        sample: The data sample; its ``seg_logits`` (num_classes, H, W) are used if present.
        predicted: Predicted labels (H, W).
        truth: True labels (H, W); ``ignore_index`` marks ignored pixels.
        classes: Class names in the order of the labels.
        ignore_index: See ``truth``.

    Returns:
        ``confusion``: a list of [true class, predicted class, pixels]; ``confidence`` (only with
        ``seg_logits`` of two classes or more): for each predicted class the numbers of correct
        and of wrong pixels in :data:`BINS` bins of the probability from 0 to 1; ``labels``: the
        predicted labels as a PNG in base64.
    """
    results = {"confusion": confusion(predicted, truth, classes, ignore_index)}
    logits = (sample.get("seg_logits") or {}).get("data")
    if logits is not None and len(logits) > 1:
        probability = logits.float().softmax(0).amax(0)
        results["confidence"] = confidence(probability, predicted, truth, classes, ignore_index)
    return {**results, "labels": encode_labels(predicted)}


def confusion(
    predicted: torch.Tensor, truth: torch.Tensor, classes: Sequence[str], ignore_index: int
) -> list[tuple[str, str, int]]:
    """Lists the pairs of classes that occur as (true class, predicted class, pixels)."""
    valid = truth != ignore_index
    pairs = truth[valid].long() * len(classes) + predicted[valid].long()
    pairs, counts = (column.tolist() for column in pairs.unique(return_counts=True))
    return [
        (classes[pair // len(classes)], classes[pair % len(classes)], count)
        for pair, count in zip(pairs, counts, strict=True)
    ]


def confidence(
    probability: torch.Tensor,
    predicted: torch.Tensor,
    truth: torch.Tensor,
    classes: Sequence[str],
    ignore_index: int,
) -> dict[str, list[list[int]]]:
    """Counts each predicted class's correct and wrong pixels by their probability (H, W)."""
    valid = truth != ignore_index
    bins = (probability[valid] * BINS).long().clamp(0, BINS - 1)
    labels = predicted[valid].long()
    wrong = (labels != truth[valid]).long()
    cells = (labels * 2 + wrong) * BINS + bins
    table = torch.bincount(cells, minlength=len(classes) * 2 * BINS)
    table = table.reshape(len(classes), 2, BINS)
    return {classes[label]: table[label].tolist() for label in labels.unique().tolist()}


def encode_labels(labels: torch.Tensor) -> str:
    """Labels (H, W) as a one-channel PNG in base64: 8 bits up to label 255, otherwise 16."""
    array = labels.cpu().numpy()
    array = array.astype(np.uint8 if array.max(initial=0) < 256 else np.uint16)
    return base64.b64encode(cv2.imencode(".png", array)[1]).decode()
