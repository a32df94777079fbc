"""`exporting.masks_keypoints.decode_keypoints` in ONNX. Imported where a file is written, for it needs onnxscript.

A scan takes one object after the other, since each map is enlarged to the size of its own box: what
`ops.heatmaps.heatmaps_to_keypoints` computes, and as large as that in memory. K keypoints, S × S cells.
"""

from typing import Any, TypeAlias

from onnx import TensorProto
from onnxscript import FLOAT, graph, script, values
from onnxscript import opset18 as op

GraphValue: TypeAlias = Any
"""a value of an ONNX graph that is being written"""
Maps, Boxes = FLOAT["n", "k", "s", "s"], FLOAT["n", 4]
MapsOfOne, BoxOfOne = FLOAT["k", "s", "s"], FLOAT[4]
Places, Logits = FLOAT["n", "k", 2], FLOAT["n", "k"]


def decode(maps: GraphValue, boxes: GraphValue) -> tuple[GraphValue, GraphValue, GraphValue]:
    """(places, logits, probabilities) of `heatmaps_to_keypoints`."""
    places, logits = _highest_pixels(maps, boxes)
    share = op.Exp(op.Sub(maps, op.Unsqueeze(logits, [2, 3])))
    return places, logits, op.Reciprocal(op.ReduceSum(share, [2, 3], keepdims=0))


@script(values.Opset("pagoda", 1))
def _highest_pixels(maps: Maps, boxes: Boxes) -> tuple[Places, Logits]:
    """Of each map, enlarged by cubic interpolation to whole pixels of its box: the first highest."""

    @graph()
    def of_one_object(cells: MapsOfOne, box: BoxOfOne):
        corner = op.Slice(box, [0], [2], [0])
        sides = op.Max(op.Slice(box, [2], [4], [0]) - corner, op.Constant(value_float=1.0))
        pixels = op.Ceil(sides)
        size = op.Cast(pixels, to=TensorProto.INT64)
        width = op.Slice(size, [0], [1], [0])
        height = op.Slice(size, [1], [2], [0])
        # The values at the border go on beyond it: two more cells on each side, all that the kernel reaches.
        padded = op.Pad(cells, [0, 2, 2, 0, 2, 2], mode="edge")
        count = op.Shape(cells, start=1, end=2)
        step = op.Unsqueeze(op.Cast(count, to=TensorProto.FLOAT) / pixels, [1])
        pixel = op.Cast(op.Range(0, op.ReduceMax(size, keepdims=0), 1), to=TensorProto.FLOAT)
        place = (op.Unsqueeze(pixel, [0]) + 0.5) * step + 1.5  # cell 0 has become cell 2
        cell = op.Cast(op.Range(0, op.Squeeze(count) + 4, 1), to=TensorProto.FLOAT)
        far = op.Abs(op.Unsqueeze(place, [2]) - cell)  # (2, pixels, cells)
        inner = (1.25 * far - 2.25) * far * far + 1.0  # Keys' kernel with a = −0.75
        outer = ((-0.75 * far + 3.75) * far - 6.0) * far + 3.0
        weights = op.Where(far <= 1.0, inner, op.Where(far < 2.0, outer, 0.0))
        across = op.Slice(op.Gather(weights, 0, axis=0), [0], width, [0])
        down = op.Slice(op.Gather(weights, 1, axis=0), [0], height, [0])
        enlarged = op.MatMul(op.MatMul(down, padded), op.Transpose(across, perm=[1, 0]))
        flat = op.Flatten(enlarged, axis=1)
        logit = op.ReduceMax(flat, [1], keepdims=0)
        best = op.ArgMax(flat, axis=1, keepdims=1)
        found = op.Cast(op.Concat(op.Mod(best, width), op.Div(best, width), axis=1), to=TensorProto.FLOAT)
        spot = (found + 0.5) * (sides / pixels) + corner
        return spot, logit

    places, logits = op.Scan(maps, boxes, body=of_one_object, num_scan_inputs=2)
    return places, logits
