"""`tune`: it finds numbers that matter, tells what they are worth elsewhere, and puts them into files that use them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pagoda
from pagoda.cli.main import main
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.folders import write_video_folder
from pagoda.data.videos import Video
from pagoda.follow.follower import TrackOptions, VideoFollower
from pagoda.follow.tuning import FoundVideo, find_videos, score, tune
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.linking import tuned_tracker
from pagoda.weights.files import read_card, save_weights

pytestmark = pytest.mark.medium

OWN = LinkerSettings(linker="byte", numbers={}, metric="HOTA", split="train")


def weakly_seen(seed: int, *, looks: bool = False, camera: bool = False) -> list[FoundVideo]:
    """Walkers as a detector reports them that is never sure: its scores lie about 0.4; false ones about 0.2."""
    rng, videos = np.random.default_rng(seed), []
    for video in WalkingFigures(num_videos=2, num_frames=16, seed=seed):
        frames = []
        for frame in range(video.tracks.num_frames):
            found = video.tracks.at(frame)
            scores = torch.tensor(rng.uniform(0.35, 0.45, len(found)), dtype=torch.float32)
            who = torch.nn.functional.one_hot(found.track_ids, 16).float() if looks else None
            frames.append(replace(found, scores=scores, keypoints=None, track_ids=None, appearance=who))
        videos.append(FoundVideo(video.tracks, frames, [np.eye(2, 3)] * 16 if camera else []))
    return videos


def test_what_a_detector_is_never_sure_of_is_found_by_a_lower_score():
    train, val = weakly_seen(1), weakly_seen(2)
    result = tune(train, val, trials=25)
    assert result.rows[0][1] == 0 and result.best.numbers["min_score"] < 0.45
    assert result.gain > 40 and result.rows[-1][2] == pytest.approx(score(result.best, val))
    assert result.num_trials == 27 and "tuned" in result.table()
    again = tune(train, val, trials=25)
    assert again.best == result.best, "the same seed tries the same"
    assert tune(train, val, trials=25, seed=1).best != result.best


def test_every_part_is_told_by_itself():
    train = weakly_seen(1, looks=True, camera=True)
    rows = [name for name, _, _ in tune(train, train, trials=1, start={"min_score": 0.3}).rows]
    assert rows[:4] == [
        "byte, its own numbers",
        "byte, with appearance",
        "byte, with camera motion",
        "byte, with both",
    ]
    assert len(tune(weakly_seen(1), train, trials=1).rows) == 2


def test_poses_are_chosen_by_their_mota():
    videos = [
        FoundVideo(video.tracks, [replace(video.tracks.at(f), track_ids=None) for f in range(12)], [])
        for video in WalkingFigures(num_videos=1, num_frames=12, seed=3)
    ]
    result = tune(videos, videos, trials=2, is_pose=True)
    assert result.metric == "pose MOTA" and result.rows[-1][1] > 90


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="needs videos to choose on and others"):
        tune([], weakly_seen(1))
    with pytest.raises(ValueError, match="linker byte has no number 'min_iou', only appearance_weight"):
        tuned_tracker(replace(OWN, numbers={"min_iou": 0.3}))
    for wrong in (float("inf"), -1):
        with pytest.raises(ValueError, match=r"linker.numbers: max_lost_frames must be a number from 0 on"):
            replace(OWN, numbers={"max_lost_frames": wrong})
    with pytest.raises(ValueError, match=r"linker.split must be the name of a split"):
        LinkerSettings.from_dict({**OWN.to_dict(), "split": []})
    with pytest.raises(ValueError, match="linker ocsort has no number 'direction_frames'"):
        tuned_tracker(replace(OWN, linker="ocsort", numbers={"direction_frames": 1e9}))
    with pytest.raises(ValueError, match="numbers must be a mapping of str to a number"):
        replace(OWN, numbers={"max_cost": float("nan")})
    video = WalkingFigures(num_videos=1, num_frames=3)[0]
    nobody = Video(replace(video.tracks, track_ids=np.full(len(video.tracks), UNLINKED)), video.frames)
    model = pagoda.create_model(
        "fcos_resnet18_fpn", label_map=video.tracks.label_map, base_channels=8, width=16, norm_groups=4
    )
    with pytest.raises(ValueError, match=r"no track id for .* choose on videos that say who is who"):
        find_videos(model, [nobody])


def test_a_linker_goes_into_the_file_and_is_used_from_there(tmp_path, capsys):
    pytest.importorskip("cv2")
    walks = WalkingFigures(num_videos=2, num_frames=4, image_size=(64, 80), seed=4)
    for walk, split in ((walks[0], "train"), (walks[1], "val")):
        write_video_folder([walk], tmp_path / "walks", split)
    small = {"base_channels": 8, "width": 16, "norm_groups": 4}
    model = pagoda.create_model("fcos_resnet18_fpn", label_map=walks[0].tracks.label_map, **small)
    checkpoint = tmp_path / "model.safetensors"
    save_weights(checkpoint, model.state_dict(), model.card())
    words = ["track", "tune", str(checkpoint), "--data", str(tmp_path / "walks"), "--trials", "2"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--dry-run"])
    assert not end.value.code and "linker" not in read_card(checkpoint)
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    assert not end.value.code and "use it with --linker card" in said.err and "against byte" in said.out
    settings = pagoda.load(checkpoint).linker
    assert settings.split == "train" and settings.metric == "HOTA"
    video = TrackOptions(linker="card").open(next((tmp_path / "walks").glob("images/**/*.jpg")).parent)
    follower = VideoFollower(pagoda.load(checkpoint), video, TrackOptions(linker="card"))
    assert type(follower._tracker).__name__ == type(tuned_tracker(settings)).__name__
    assert len(list(follower.frames())) == 4
    with pytest.raises(ValueError, match="holds no linker; pagoda track tune CKPT --data DIR puts one there"):
        VideoFollower(model, video, TrackOptions(linker="card"))
