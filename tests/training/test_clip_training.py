"""Clips through the whole training loop: with a network of 3-D and 2-D kernels, skipped frames and a capsule."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from pagoda.data.augment.transforms import Compose, HorizontalFlip, JitteredResize
from pagoda.data.clips import ClipDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.loading import TrainingView
from pagoda.detectors.contract import Detector
from pagoda.layers.memory_format import is_channels_last, order_weights
from pagoda.preprocess import InputSpec
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tubes import TubeTargets
from pagoda.training.failed_batch import NotFiniteError, diagnose, load_capsule
from pagoda.training.last import load_last
from pagoda.training.loop import Trainer
from pagoda.training.settings import OptimSettings, TrainSettings


class Counting(Detector):
    """How many objects the clip shows, frame by frame: a 3-D and a 2-D convolution and a mean."""

    sees_clips, frames_around = True, (-1, 0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.label_map = PERSON_17
        self.input_spec = InputSpec(short_side=64, long_side=80, pad_multiple=16)
        self.origin = {"model": "counting", "options": {}}
        self.mix = nn.Conv3d(3, 8, (3, 3, 3), (1, 4, 4), (1, 1, 1))
        self.count = nn.Conv2d(8, 1, 3)
        self.seen: list[tuple[tuple[int, ...], bool]] = []

    def losses(self, images, targets) -> dict[str, Tensor]:
        pixels = images.pixels
        self.seen.append((tuple(pixels.shape), pixels.is_contiguous(memory_format=torch.channels_last_3d)))
        assert all(isinstance(target, TubeTargets) and target.key == 1 for target in targets)
        x = self.mix(pixels).relu().transpose(1, 2).flatten(0, 1)
        counts = self.count(x).mean((1, 2, 3)).unflatten(0, (-1, 3))
        wanted = torch.stack([target.visible.float().sum(0) for target in targets])
        return {"loss_count": (counts - wanted).square().mean()}


def trainer(folder, *, resume=False, view=None, kind=Counting, **changes) -> Trainer:
    walks = WalkingFigures(num_videos=2, num_frames=8, seed=1, image_size=(64, 80))
    data = ClipDataset(walks, clip_length=3, complete=True)
    augment = Compose([JitteredResize(64, 80), HorizontalFlip(0.5, PERSON_17.skeleton.flip_pairs)])
    settings = TrainSettings(
        data="drawn",
        epochs=2,
        batch_size=4,
        device="cpu",
        save_seconds=0.0,
        optim=OptimSettings(warmup_steps=2, ema_decay=0.9),
        **changes,
    )
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    return Trainer(
        kind(),
        view or TrainingView(data, augment),
        lambda current, progress: SimpleNamespace(
            warnings=(),
            metrics={"AP": 0.0, "AP50": 0.0},
            deciding=("AP", 0.0),
            line=lambda: "AP 0.000",
            to_dict=lambda: {"metrics": {}},
        ),
        settings,
        folder,
        sizes=data.annotations.sizes,
        resume=resume,
        quiet=True,
    )


@pytest.mark.medium
@pytest.mark.parametrize("channels_last", [True, False])
def test_clips_are_learnt_from_and_a_resumed_run_is_the_same_run(tmp_path, channels_last):
    whole = trainer(tmp_path / "whole", channels_last=channels_last)
    whole.run()
    shapes = {shape for shape, _ in whole.model.seen}
    assert all(shape[1:3] == (3, 3) for shape in shapes) and sum(s[0] for s, _ in whole.model.seen) == 32
    assert all(is_last is channels_last for _, is_last in whole.model.seen)

    class Interrupted(Counting):
        def losses(self, images, targets):
            if len(self.seen) == 3:
                raise KeyboardInterrupt
            return super().losses(images, targets)

    first = trainer(tmp_path / "parts", kind=Interrupted, channels_last=channels_last)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    trainer(tmp_path / "parts", resume=True, channels_last=channels_last).run()
    states = [load_last(tmp_path / name)["model"] for name in ("whole", "parts")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_batch_of_broken_frames_becomes_black_clips(tmp_path, corrupt_pictures):
    data = ClipDataset(WalkingFigures(num_videos=2, num_frames=8, seed=1, image_size=(64, 80)))
    broken = corrupt_pictures(data, range(len(data)))
    run = trainer(tmp_path, view=TrainingView(broken))
    run.run()
    assert run.at.skipped == 32 and {shape for shape, _ in run.model.seen} == {(2, 3, 3, 16, 16)}


def test_a_capsule_of_clips_explains_and_repeats(tmp_path):
    run = trainer(tmp_path)
    with torch.no_grad():
        run.model.mix.weight[0, 0, 0, 0, 0] = math.nan
    with pytest.raises(NotFiniteError, match=r"(?s)loss_count nan.*first layer not finite: mix"):
        run.run()
    content, targets = load_capsule(next(tmp_path.glob("capsule-*.pt")))
    assert all(isinstance(target, TubeTargets) and target.num_frames == 3 for target in targets)
    model = Counting()
    model.load_state_dict(content["weights"])
    again = diagnose(order_weights(model, channels_last=True), content["pictures"], targets, precision="fp32")
    assert json.dumps(again.terms) == json.dumps(content["losses"]) and len(again.pictures) == 4


def test_kernels_of_both_kinds_take_the_order_asked_for():
    model = order_weights(Counting(), channels_last=True)
    assert model.mix.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert model.count.weight.is_contiguous(memory_format=torch.channels_last) and is_channels_last(model)
    plain = order_weights(model, channels_last=False)
    assert plain.mix.weight.is_contiguous() and not is_channels_last(plain)
    flat = nn.Sequential(nn.Conv2d(3, 8, 3))
    same = nn.Sequential(nn.Conv2d(3, 8, 3)).to(memory_format=torch.channels_last)
    assert order_weights(flat, channels_last=True)[0].weight.stride() == same[0].weight.stride()
