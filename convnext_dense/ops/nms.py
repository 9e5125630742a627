"""Non-maximum suppression: plain, soft, and with the groups of suppressed boxes.

IoU here is mmcv's: a box is `offset` (0 or 1) wider and higher than `x2 - x1` and `y2 - y1`.
mmcv calls soft-NMS and nms_match with CPU tensors. They loop over the kept boxes in numpy, where a
small operation takes a quarter of torch's time.
"""

import numpy as np
import torch
import torchvision  # noqa: F401 (registers torch.ops.torchvision)
from torch import Tensor

from convnext_dense.ops.precision import at_least_float32

# Rows of the table that soft-NMS and nms_match work on: x1, y1, x2, y2, score, area.
SCORE, AREA = 4, 5
NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy suppression of boxes that overlap a better one by more than `iou_threshold`.

    Args:
        boxes: (N, 4), xyxy.
        scores: (N,).

    Returns:
        Indices of the kept boxes, best first, int64.
    """
    boxes, scores = at_least_float32(boxes, scores)
    if offset:
        # With the lower right corners moved by the offset the IoU is mmcv's. In float64, since the
        # sum would be rounded in float32.
        boxes = torch.cat([boxes[:, :2].double(), boxes[:, 2:].double() + offset], dim=1)
        scores = scores.double()
    elif boxes.dtype == torch.float32:
        # torchvision compares float32 IoUs with a float64 threshold, mmcv with one rounded to
        # float32; this matters for IoUs equal to the threshold.
        iou_threshold = float(np.float32(iou_threshold))
    return torch.ops.torchvision.nms(boxes, scores, iou_threshold)


@torch.no_grad()
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS: overlapping boxes lose score instead of being dropped (Bodla et al., 2017).

    Each round moves the best remaining box to the front and lowers the scores of those behind it.

    Args:
        boxes: (N, 4), xyxy, on the CPU.
        scores: (N,).
        dets: (N, 5); its first K rows are overwritten with the kept boxes and their new scores.
        method: 0 naive (drop), 1 linear, 2 gaussian.

    Returns:
        Indices of the K kept boxes, best first, int64.
    """
    table = _table(boxes, scores, offset)
    index = np.arange(table.shape[1])
    kept, done = table.shape[1], 0
    while done < kept:
        best = done + table[SCORE, done:kept].argmax()
        table[:, [done, best]] = table[:, [best, done]]
        index[[done, best]] = index[[best, done]]
        rest = table[:, done + 1 : kept]
        iou = _iou(table[:, done], rest, offset)
        rest[SCORE] *= _soft_weight(iou, iou_threshold, sigma, method)
        done += 1
        kept = done + _close_gaps(rest[SCORE] < min_score, rest, index[done:kept])
    dets[:kept] = torch.from_numpy(table[:AREA, :kept].T)
    return torch.from_numpy(index[:kept])


def _soft_weight(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-(iou * iou) / sigma)
    lowered = 1 - iou if method == LINEAR else np.zeros_like(iou)
    lowered[~(iou >= iou_threshold)] = 1
    return lowered


def _close_gaps(dropped: np.ndarray, *columns: np.ndarray) -> int:
    """Fill each dropped column with the last one that stays, in place; return how many stay.

    mmcv leaves the boxes in this order, and the order decides between equal scores.
    """
    stay = len(dropped) - np.count_nonzero(dropped)
    if stay < len(dropped):
        gaps = np.flatnonzero(dropped[:stay])
        tail = np.flatnonzero(~dropped[stay:])[::-1] + stay
        for column in columns:
            column[..., gaps] = column[..., tail]
    return stay


@torch.no_grad()
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Greedy NMS that returns every kept box with the boxes it suppressed (IoU >= threshold).

    Args:
        dets: (N, 5), xyxy and score, on the CPU.

    Returns:
        One list of indices per kept box, itself first, the others by falling score.
    """
    table = _table(dets[:, :4], dets[:, 4], offset=0)
    order = np.argsort(-table[SCORE], kind="stable")
    table = table[:, order]
    groups = []
    while len(order):
        matched = _iou(table[:, 0], table, offset=0) >= iou_threshold
        matched[0] = True  # the box itself, also where its area is 0 and its IoU NaN
        groups.append(order[matched].tolist())
        table, order = table[:, ~matched], order[~matched]
    return groups


def _table(boxes: Tensor, scores: Tensor, offset: int) -> np.ndarray:
    """The columns x1, y1, x2, y2, score, area as the rows of a (6, N) copy."""
    boxes, scores = at_least_float32(boxes, scores)
    x1, y1, x2, y2 = boxes.unbind(1)
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    return torch.stack([x1, y1, x2, y2, scores, area]).numpy()


def _iou(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """IoU of one column of the table (6,) with others (6, N): (N,)."""
    low = np.maximum(box[:2, None], others[:2])
    high = np.minimum(box[2:4, None], others[2:4])
    width, height = np.maximum(high - low + offset, 0)
    intersection = width * height
    with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area
        return intersection / (box[AREA] + others[AREA] - intersection)
