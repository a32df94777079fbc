"""Each kind of selection has the options that apply to it, and no others."""

from dataclasses import fields

import pytest
import torch
from jaxtyping import TypeCheckError

from pagoda.plain import from_plain
from pagoda.postprocess.dense import SelectDetections
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.postprocess.select import Select, pick
from pagoda.postprocess.tubes import SelectTubes

KINDS = (SelectDetections, SelectFromAllLevels, SelectRoIs, SelectTubes)
OF_LOCATIONS = {"threshold_on", "keep_equal", "rank_on", "combine", "best_class_only", "clip_rule"}
OF_PROPOSALS = {"min_side", "keypoint_score"}
OWN = {
    SelectDetections: OF_LOCATIONS | {"top_level_min_score"},
    SelectFromAllLevels: OF_LOCATIONS
    | {"suppression", "sigma", "soft_min_score", "levels_apart", "last_pixel"},
    SelectRoIs: OF_PROPOSALS | {"paste", "min_mask_probability"},
    SelectTubes: OF_PROPOSALS | {"suppress_equal"},
}
ALL = set().union(*OWN.values())


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_apply_is_unknown(kind):
    shared = {field.name for field in fields(Select)}
    assert {field.name for field in fields(kind)} == shared | OWN[kind]
    for name in sorted(ALL - OWN[kind]):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            kind(**{name: None})
        with pytest.raises(ValueError, match=f"unknown setting 'postprocess.{name}'"):
            from_plain(kind, {name: None}, "postprocess.")


@pytest.mark.parametrize("kind", KINDS)
def test_limits_are_checked_and_may_be_changed(kind):
    changed = kind().with_limits(min_score=0.3, max_iou=None, max_detections=7)
    assert type(changed) is kind
    assert (changed.min_score, changed.max_iou, changed.max_detections) == (0.3, kind().max_iou, 7)
    for limits in ({"min_score": 1.5}, {"max_iou": -0.1}, {"max_candidates": 0}, {"max_detections": 0}):
        with pytest.raises(ValueError, match=next(iter(limits))):
            kind(**limits)


def test_rows_of_another_batch_are_refused_by_the_shapes():
    with pytest.raises(TypeCheckError, match=r"pick\.\s.*parameter 'rows'"):
        pick(torch.zeros(2, 5, 4), torch.zeros(3, 2, dtype=torch.long))
