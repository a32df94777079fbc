"""A foreign checkpoint that has become a detector of ours."""

from dataclasses import dataclass

from pagoda.convert.report import ConversionReport
from pagoda.convert.tensor_slices import Place
from pagoda.detectors.contract import Detector


@dataclass(frozen=True)
class Conversion:
    """A converted detector, what happened, and where each foreign tensor went.

    >>> report = ConversionReport("a.pth", "", "mmdetection FCOS", "Apache-2.0", "fcos_resnet50_fpn", 0, 1)
    >>> places = {"bbox_head.scales.0.scale": Place("scales", slice(0, 1))}
    >>> conversion = Conversion(Detector(), report, places)
    >>> conversion.places["bbox_head.scales.0.scale"].name
    'scales'
    """

    model: Detector
    """in evaluation mode"""
    report: ConversionReport
    """what became of every tensor, and why"""
    places: dict[str, Place]
    """{source name: place in the model}"""
