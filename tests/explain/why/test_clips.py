"""Reasons of a model of clips: planted ones, among them tubes that follow an object in other frames but not here."""

import random
from pathlib import Path

import pytest
import torch
from scripted import NOTHING
from torch import Tensor

import pagoda
from pagoda.data.table.assembly import tabulate
from pagoda.detectors.contract import Detector
from pagoda.detectors.two_stage import Proposed
from pagoda.explain.why.examine import why
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RPNOutputs, TubeOutputs
from pagoda.structures.tubes import TubeTargets

SIDE, FRAMES, TIMES = 128, 3, 20
PERSON = LabelMap.from_names(["person"])


class ScriptedClips:
    """One object that walks to the right; what the network says of each clip is written down."""

    def __init__(self, reasons: list[str]) -> None:
        draw = random.Random(1)
        self.label_map, self.reasons = PERSON, reasons
        self.tubes = []
        for _ in reasons:
            x, y = draw.uniform(5, 50), draw.uniform(5, 50)
            self.tubes.append(torch.tensor([[x + 8 * t, y, x + 8 * t + 32, y + 48] for t in range(FRAMES)]))
        self.annotations = tabulate(
            [self[index][1].at(1) for index in range(len(self))],
            label_map=PERSON,
            root=Path(),
            source="clips",
        )

    def __len__(self) -> int:
        return len(self.reasons)

    def __getitem__(self, index: int) -> tuple[Tensor, TubeTargets]:
        one = torch.zeros(1, dtype=torch.long)
        targets = TubeTargets(
            self.tubes[index][None],
            one,
            torch.ones(1, FRAMES, dtype=torch.bool),
            (SIDE, SIDE),
            one.bool(),
            one + 7,
            key=1,
            image_id=index + 1,
            file=f"{index:04d}.png",
        )
        return torch.full((FRAMES, 3, SIDE, SIDE), index, dtype=torch.uint8), targets

    def said(self, index: int) -> tuple[Tensor, Tensor, float]:
        """(proposed tube, what becomes of it, its score)."""
        tube = self.tubes[index]
        match self.reasons[index]:
            case "found":
                return tube, tube, 0.9
            case "low score":
                return tube, tube, 0.02
            case "no proposal":
                return tube + 60, tube + 60, 0.9
            case _:
                lost = tube.clone()
                lost[1] += torch.tensor([26.0, 0, 26, 0])  # overlaps by 6/58 where the clip is about
                return tube, lost, 0.9


def scripted_tubes(clips: ScriptedClips) -> Detector:
    model = pagoda.create_model("detect_and_track_resnet18_3d", label_map=PERSON, width=8)
    model.input_spec = InputSpec(
        short_side=SIDE, long_side=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0, pad_multiple=128
    )

    def look(_: Tensor, images: ImageBatch) -> tuple[Proposed, TubeOutputs]:
        said = [clips.said(int(clip[0, 0, 0, 0].round())) for clip in images.pixels]
        regions = torch.stack([proposed for proposed, _, _ in said])[:, None]
        deltas = model.box_head.coder.encode(
            torch.stack([becomes for _, becomes, _ in said])[:, None], regions
        )
        scores = torch.tensor([[[score, 1 - score]] for _, _, score in said])
        count = len(said)
        proposals = Proposals(regions, torch.ones(count, 1), torch.ones(count, 1, dtype=torch.bool))
        anchor = (torch.tensor([[0.0, 0, 8, 8]]),)
        rpn = RPNOutputs(torch.full((count, 1), NOTHING), torch.zeros(count, 1, FRAMES, 4), anchor)
        none = torch.zeros(count, 0)
        empty = torch.zeros(count, 0, FRAMES, 4)
        outputs = TubeOutputs(scores.log(), deltas[:, :, None], proposals, empty, none, none, None)
        return Proposed({}, rpn, proposals), outputs

    model.look, model.frame_features, model.keypoint_head = look, lambda pixels: pixels, None
    model.levels = [2]
    return model.eval()


@pytest.mark.medium
def test_planted_reasons_of_clips():
    reasons = [
        reason for reason in ("found", "low score", "no proposal", "broken tube") for _ in range(TIMES)
    ]
    clips = ScriptedClips(reasons)
    told = why(scripted_tubes(clips), clips)
    got = {miss.image_id - 1: miss for miss in told.misses}
    assert {index: miss.reason for index, miss in got.items()} == {
        index: reason for index, reason in enumerate(reasons) if reason != "found"
    }
    words = got[reasons.index("broken tube")].words
    assert "1.00 in frame -1, 0.10 here, 1.00 in frame +1" in words
