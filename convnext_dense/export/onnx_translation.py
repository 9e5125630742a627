"""The operators of :mod:`convnext_dense.export.operators` in ONNX's own."""

import math
from collections.abc import Callable, Sequence

import torch
from onnxscript import FLOAT, INT64, ir
from onnxscript import opset20 as op

from convnext_dense.export.operators import NAMESPACE, SUPPRESSED


def suppress(boxes: FLOAT, scores: FLOAT, iou: float, least: float) -> FLOAT:
    """ONNX's NonMaxSuppression gives the places of the boxes that are kept: (n, 3)."""
    count = op.Shape(scores, start=1, end=2)
    rows = op.Unsqueeze(scores, op.Constant(value_ints=[1]))
    # The exporter knows that there are four edges, OpenVINO only where a node says so.
    boxes = op.Reshape(boxes, op.Constant(value_ints=[0, 0, 4]))
    places = op.NonMaxSuppression(
        boxes, rows, count, op.Constant(value_floats=[iou]), op.Constant(value_floats=[least])
    )
    # (group, class, box) -> (group, box): there is one class.
    places = op.Gather(places, op.Constant(value_ints=[0, 2]), axis=1)
    nothing = op.Expand(op.Constant(value_float=SUPPRESSED), op.Shape(scores))
    return op.ScatterND(nothing, places, op.GatherND(scores, places))


def choose_best(scores: FLOAT, count: int) -> INT64:
    """TopK: ONNX says that the lower place comes first."""
    _, places = op.TopK(scores, op.Constant(value_ints=[count]), axis=1)
    return places


def choose_best_by_value(scores: FLOAT, count: int) -> INT64:
    """For OpenVINO, whose TopK gives equal scores any order: by the least score that is chosen.

    Its TopK that keeps the order takes 2 s for the 200,000 anchors of an image.
    """
    best, _ = op.TopK(scores, op.Constant(value_ints=[count]), axis=1)
    least = op.ReduceMin(best, op.Constant(value_ints=[1]))
    above = op.Cast(op.Greater(scores, least), to=ir.DataType.INT32)
    equal = op.Cast(op.Equal(scores, least), to=ir.DataType.INT32)
    axis = op.Constant(value_ints=[1])
    room = op.Sub(op.CastLike(op.Constant(value_int=count), above), op.ReduceSum(above, axis))
    first = op.LessOrEqual(op.CumSum(equal, op.Constant(value_int=1)), room)
    chosen = op.Or(op.Greater(scores, least), op.And(op.Equal(scores, least), first))
    columns = op.Gather(op.NonZero(chosen), op.Constant(value_int=1), axis=0)
    return op.Reshape(columns, [-1, count])


def pool_regions(
    features: Sequence[FLOAT],
    regions: FLOAT,
    size: int,
    strides: Sequence[int],
    ratio: int,
    finest: int,
) -> FLOAT:
    """Each level pools its own regions; their places bring them back into order."""
    left, top, right, bottom = (
        op.Gather(regions, op.Constant(value_int=column), axis=1) for column in (1, 2, 3, 4)
    )
    side = op.Sqrt(op.Mul(op.Sub(right, left), op.Sub(bottom, top)))
    scale = op.Add(op.Div(side, op.Constant(value_float=float(finest))), 1e-6)
    level = op.Floor(op.Div(op.Log(scale), op.Constant(value_float=math.log(2))))
    level = op.Clip(level, 0.0, float(len(features) - 1))
    boxes = op.Gather(regions, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)
    image = op.Cast(op.Gather(regions, op.Constant(value_int=0), axis=1), to=ir.DataType.INT64)
    pooled, places = [], []
    for number, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        chosen = op.Reshape(op.NonZero(op.Equal(level, float(number))), [-1])
        pooled.append(
            op.RoiAlign(
                feature,
                op.Gather(boxes, chosen, axis=0),
                op.Gather(image, chosen, axis=0),
                coordinate_transformation_mode="half_pixel",
                mode="avg",
                output_height=size,
                output_width=size,
                sampling_ratio=max(0, ratio),
                spatial_scale=1 / stride,
            )
        )
        places.append(chosen)
    everything, order = op.Concat(*pooled, axis=0), op.Concat(*places, axis=0)
    count = op.Shape(order)
    _, back = op.TopK(order, count, axis=0, largest=0, sorted=1)
    found = op.Gather(everything, back, axis=0)
    if ratio > 0:
        return found
    # Without extent there is no sample: torchvision gives 0, onnxruntime divides 0 by 0.
    thin = op.LessOrEqual(op.Min(op.Sub(right, left), op.Sub(bottom, top)), 0.0)
    thin = op.Unsqueeze(thin, op.Constant(value_ints=[1, 2, 3]))
    return op.Where(thin, 0.0, found)


def translations(ordered: bool = True) -> dict[Callable, Callable]:
    """For ``custom_translation_table`` of ``torch.onnx.export``.

    Args:
        ordered: The runtime's TopK keeps the order of equal values.
    """
    library = getattr(torch.ops, NAMESPACE)
    return {
        library.choose_best.default: choose_best if ordered else choose_best_by_value,
        library.suppress.default: suppress,
        library.pool_regions.default: pool_regions,
    }
