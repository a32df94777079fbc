"""`ops.tubes.batch_tube_survivors` in ONNX. Imported where a file is written, for it needs onnxscript.

A loop takes the best tube that is left of every group, clip by clip, and all that it overlaps by too much leave with
it: as many rounds as the group with the most survivors has, and memory for one row of overlaps. B clips, n tubes, T
frames.
"""

from typing import Any, TypeAlias

import numpy as np
import onnx_ir
from onnx import TensorProto
from onnxscript import BOOL, DOUBLE, INT64, script, values
from onnxscript import opset18 as op

from pagoda.exporting.onnx import suppress

GraphValue: TypeAlias = Any
"""a value of an ONNX graph that is being written"""
Tubes, Scores, Groups = DOUBLE["b", "n", 4, "t"], DOUBLE["b", "n"], INT64["b", "n"]
OfGroup, Limit = BOOL["b", "g", "n"], DOUBLE[1]
Survivors = BOOL["b", "n"]


def suppress_tubes(
    tubes: GraphValue,
    scores: GraphValue,
    labels: GraphValue,
    num_classes: int,
    max_iou: float,
    inclusive: bool,
) -> GraphValue:
    """(B, n) bool: see `batch_tube_survivors`. Tubes of one frame are boxes, for which ONNX has an operator."""
    if tubes.shape[2] == 1:
        return suppress(op.Squeeze(tubes, [2]), scores, labels, num_classes, floor_of(max_iou), inclusive)
    groups = op.Range(*(op.Constant(value_int=value) for value in (0, num_classes, 1)))
    of_group = op.Equal(op.Unsqueeze(labels, [1]), op.Unsqueeze(groups, [0, 2]))
    sides = op.Transpose(op.Cast(tubes, to=TensorProto.DOUBLE), perm=[0, 1, 3, 2])  # (B, n, 4, T)
    limit = op.Constant(value=onnx_ir.tensor(np.array([max_iou], np.float64)))
    extra = op.Constant(value=onnx_ir.tensor(np.array([inclusive], np.float64)))
    return _survivors(sides, op.Cast(scores, to=TensorProto.DOUBLE), labels, of_group, limit, extra)


def floor_of(max_iou: float) -> float:
    """The largest float32 that is no larger: ONNX's operator compares in these.

    >>> floor_of(0.5), floor_of(0.6) < 0.6
    (0.5, True)
    """
    near = np.float32(max_iou)
    return float(np.nextafter(near, np.float32(-1)) if float(near) > max_iou else near)


@script(values.Opset("pagoda", 1))
def _survivors(
    tubes: Tubes, scores: Scores, groups: Groups, of_group: OfGroup, limit: Limit, extra: Limit
) -> Survivors:
    none = op.CastLike(-1.0, scores)
    zero = op.CastLike(0.0, scores)
    rows = op.Range(0, op.Squeeze(op.Shape(scores, start=1, end=2)), 1)
    left, top, right, bottom = op.Split(tubes, num_outputs=4, axis=2)  # (B, n, 1, T)
    areas = (right - left + extra) * (bottom - top + extra)
    stay = op.Concat(tubes, areas, axis=2)
    is_left = scores > zero
    kept = op.And(is_left, op.Not(is_left))
    more = op.Cast(op.ReduceMax(op.Cast(is_left, to=TensorProto.INT32), keepdims=0), to=TensorProto.BOOL)
    while more:
        of_those = op.Where(is_left, scores, none)
        ranked = op.Where(of_group, op.Unsqueeze(of_those, [1]), none)
        ranked = op.Reshape(ranked, op.Shape(of_group))  # in a loop OpenVINO forgets how many axes there are
        best = op.ArgMax(ranked, axis=2, keepdims=0)
        rival = op.GatherElements(best, groups, axis=1)  # of each tube: the best of its group
        chosen = op.GatherND(stay, op.Unsqueeze(rival, [2]), batch_dims=1)
        r_left, r_top, r_right, r_bottom, r_areas = op.Split(chosen, num_outputs=5, axis=2)
        width = op.Max(op.Min(right, r_right) - op.Max(left, r_left) + extra, zero)
        height = op.Max(op.Min(bottom, r_bottom) - op.Max(top, r_top) + extra, zero)
        inter = width * height
        union = areas + r_areas - inter
        iou = inter / op.Max(union, op.CastLike(1e-30, scores))
        overlap = op.ReduceMean(iou, [2, 3], keepdims=0)
        is_best = op.And(is_left, rival == rows)
        kept = op.Or(kept, is_best)
        is_left = op.And(is_left, op.Not(op.Or(is_best, overlap > limit)))
        more = op.Cast(op.ReduceMax(op.Cast(is_left, to=TensorProto.INT32), keepdims=0), to=TensorProto.BOOL)
    return kept
