"""A described detector: its steps, its pyramid levels, its totals."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from pagoda.plain import JsonObject, checked

Kind = Literal["backbone", "neck", "head", "other"]
"""where a step belongs: it makes a pyramid of a picture, of a pyramid, predictions, or something else"""


@checked
@dataclass(frozen=True, kw_only=True)
class Row:
    """One step on the way from the picture to the predictions. All rows together are the whole model.

    >>> Row(kind="neck", part="neck", name="", label="P3", words="", parameters=9, trainable=4).training
    'partly'
    """

    kind: Kind
    """where the step belongs, which also says the letter of its label"""
    part: str
    """attribute of the detector: backbone, neck, class_head …"""
    name: str
    """path of the module inside the detector; "" for steps without one"""
    label: str
    """the pyramid level this step completes (C3, P5), or "" """
    words: str
    """what the module is, for people: "7×7 convolution, stride 2"; "" where there is nothing to say"""
    shape: tuple[int, ...] | None = None
    """(C, H, W) of one picture's output, (C, T, H, W) of a clip's; of heads on regions, of one region's output"""
    stride: int | None = None
    """pixels of the picture from cell to cell of the output; None where it is no map"""
    parameters: int = 0
    """numbers in it that no row before has told; shared ones count once"""
    trainable: int = 0
    """of the parameters, how many training may change"""
    macs: int = 0
    """multiply-accumulates for one picture or clip"""
    is_stage: bool = False
    """made of several layers with products"""
    receptive_field: int | None = None
    """pixels; in a feature pyramid that of the lateral path, without what is added from coarser levels"""
    receptive_frames: int | None = None
    """of a clip without ends; 1: each frame by itself"""
    regions: int | None = None
    """how many regions a head looks at, where it does not look at the whole map"""

    @property
    def training(self) -> str:
        """ "trained", "partly" or "frozen"; "" without parameters."""
        if not self.parameters:
            return ""
        return {0: "frozen", self.parameters: "trained"}.get(self.trainable, "partly")


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """One level of the pyramid the heads read."""

    level: int
    """P3 is 3"""
    stride: int
    """pixels of the resized picture from cell to cell; 2ˡ but where stages are dilated"""
    size: tuple[int, int]
    """(height, width) in cells"""
    locations: int
    """cells, the product of `size`"""
    predictions_per_location: int
    """anchors; 1 where every location predicts one box"""
    object_sizes: tuple[float, float] | None
    """(smallest, largest) pixels of the resized picture: √area of the anchors, or the distance from a
    location to the farthest side of its object (FCOS); None where the detector does not say"""


@dataclass(frozen=True, kw_only=True)
class StructureRows:
    """A detector in rows and numbers, for pictures, or clips of pictures, of one size."""

    model: str
    """its zoo name, or its class"""
    num_classes: int
    """that its heads tell apart, background not counted"""
    size: tuple[int, int]
    """(height, width) as asked for"""
    padded_size: tuple[int, int]
    """what the network really sees"""
    rows: tuple[Row, ...]
    """the steps, in the order data flows"""
    levels: tuple[LevelRow, ...]
    """what the heads read, finest first"""
    num_frames: int | None = None
    """of a clip; None for detectors of pictures"""

    @property
    def parameters(self) -> int:
        """Numbers in the whole model."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Of the parameters, how many training may change."""
        return sum(row.trainable for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture or clip."""
        return sum(row.macs for row in self.rows)

    @property
    def locations(self) -> int:
        """Cells of all levels together."""
        return sum(level.locations for level in self.levels)

    @property
    def predictions(self) -> int:
        """Boxes before anything is selected."""
        return sum(level.locations * level.predictions_per_location for level in self.levels)

    def to_dict(self) -> JsonObject:
        """Plain values, ready for JSON; an object size without end is None."""
        data = asdict(self)
        for level in data["levels"]:
            sizes = level["object_sizes"]
            level["object_sizes"] = sizes and [s if math.isfinite(s) else None for s in sizes]
        names = ("parameters", "trainable", "macs", "locations", "predictions")
        totals = {name: getattr(self, name) for name in names}
        return {**data, "totals": totals}
