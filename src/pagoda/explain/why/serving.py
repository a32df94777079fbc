"""Can a location or an anchor of a detector serve an object at its input size, as they are assigned in training?"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.detectors.two_stage import TwoStageDetector
from pagoda.explain.doctor.coverage import assigned, prior_kind, priors_at
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Targets

LARGER = (1.25, 1.5, 2.0, 3.0, 4.0)
"""times the input size, tried one after the other"""


@dataclass(frozen=True)
class Serving:
    """What can serve an object."""

    can: bool = True
    """a location or anchor can, were the object alone"""
    words: str = ""
    """why nothing can"""
    remedy: str = ""
    """the input size at which something could"""
    hidden: str = ""
    """the end of a sentence, where all that could serve it serves other objects"""
    proposal_iou: float = 0.5
    """from which on the box head takes a proposal for an object"""


class Servings:
    """Tells it of objects of many pictures of a detector."""

    def __init__(self, model: Detector) -> None:
        self.model = model
        self.proposal_iou = model.criterion.rois.min_iou if isinstance(model, TwoStageDetector) else 0.5  # type: ignore[union-attr, operator]
        self._priors = lru_cache(maxsize=32)(lambda size: priors_at(model, size))

    def of(self, boxes: Tensor, labels: Tensor, row: int, image_size: tuple[int, int]) -> Serving:
        """Of row `row` of boxes (N, 4) xyxy in a picture of (height, width): all that can be missed there."""
        everything = Targets(boxes.float(), labels, image_size, torch.zeros(len(boxes), dtype=torch.bool))
        alone, spec = everything[row : row + 1], self.model.input_spec
        if self._serves(alone, spec, 0):
            if self._serves(everything, spec, row):
                return Serving(proposal_iou=self.proposal_iou)
            return Serving(
                hidden="; in training all that could serve it serves other objects",
                proposal_iou=self.proposal_iou,
            )
        frame = spec.to_frame(alone.boxes, image_size)[0]
        width, height = (frame[2:] - frame[:2]).tolist()
        kind = {"anchors": "anchor", "cells": "cell"}.get(prior_kind(self.model), "location")
        words = f"at this input size it is {width:.0f}×{height:.0f} pixels, which no {kind} serves"
        for factor in LARGER:
            larger = scaled(spec, factor)
            if self._serves(alone, larger, 0):
                return Serving(False, words, _size_words(larger), proposal_iou=self.proposal_iou)
        return Serving(
            False, f"{words}, nor at {LARGER[-1]:g} times that size", proposal_iou=self.proposal_iou
        )

    def _serves(self, target: Targets, spec: InputSpec, row: int) -> bool:
        height, width = spec.frame(target.image_size)
        priors = self._priors((spec.padded(height), spec.padded(width)))
        boxes = spec.to_frame(target.boxes, target.image_size)
        model = self.model if spec is self.model.input_spec else _Resized(self.model, spec)
        index = assigned(model, priors, replace(target, boxes=boxes))  # type: ignore[arg-type]
        return bool((index == row).any())


class _Resized:
    """A detector as it would be at another input size."""

    def __init__(self, model: Detector, spec: InputSpec) -> None:
        self._model, self.input_spec = model, spec

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)


def scaled(spec: InputSpec, factor: float) -> InputSpec:
    """The same way to prepare pictures, `factor` times as large.

    >>> scaled(InputSpec(), 0.5).resized((480, 640))
    (400, 533)
    """

    def times(side: int) -> int:
        return round(side * factor)

    if spec.canvas is not None:
        return replace(spec, canvas=(times(spec.canvas[0]), times(spec.canvas[1])))
    return replace(spec, short_side=times(spec.short_side), long_side=times(spec.long_side))


def _size_words(spec: InputSpec) -> str:
    if spec.canvas is not None:
        return f"--model.canvas {spec.canvas[0]} {spec.canvas[1]} would serve it"
    return f"--model.short-side {spec.short_side} --model.long-side {spec.long_side} would serve it"
