"""A video learned by heart: poses are found in every frame, and everybody keeps one identity."""

import pytest
import torch

from pagoda.data.clips import ClipDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.follow.clips import detect_frames
from pagoda.layers.memory_format import order_weights
from pagoda.models import create_model
from pagoda.tracking.linking import LINKERS, create_tracker, link


@pytest.mark.slow
def test_eight_clips_by_heart_and_everybody_is_followed() -> None:
    figures = WalkingFigures(
        num_videos=1, num_frames=8, seed=5, crossing=False, num_pillars=0, hidden_share=0.0, max_figures=3
    )
    dataset = ClipDataset(figures)
    torch.manual_seed(0)
    options = {"width": 48, "head_depth": 2, "short_side": 128, "long_side": 160}
    model = create_model("detect_and_track_resnet18_3d", label_map=dataset.label_map, **options)
    order_weights(model, channels_last=True).train()
    samples = [dataset[index] for index in range(8)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 20, (400 - step) / 100)
        chosen = [samples[(2 * step + offset) % 8] for offset in range(2)]
        images = model.input_spec.batch([frames for frames, _ in chosen])
        losses = model.losses(images, [targets for _, targets in chosen])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    assert float(losses["loss_keypoint"].detach()) < 0.8
    video = figures[0]
    pictures = [video.picture(frame) for frame in range(8)]
    for linker in LINKERS:
        tracker = create_tracker(linker, min_score=0.5)
        found = link(detect_frames(model, pictures), tracker, video.tracks.name)
        evaluator = TrackEvaluator()
        evaluator.update(video.tracks, found.linked())
        metrics = evaluator.result().metrics
        assert metrics["IDF1"] == pytest.approx(1.0) and metrics["MOTA"] == pytest.approx(1.0), linker
