"""What somebody does and sees, without a browser."""

import numpy as np
import pytest
from PIL import Image

import pagoda
from pagoda.app.album import Album
from pagoda.app.events import NOTHING_YET, Events
from pagoda.app.looking import Looker, ShownLimits
from pagoda.app.pictures import shown_scale
from pagoda.app.reasons import annotated_boxes
from pagoda.app.session import Session
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.why.examine import why
from pagoda.explain.why.records import MISS_WORDS, WRONG_WORDS
from pagoda.video.frames import VideoSource, VideoWriter


@pytest.fixture(scope="module")
def album(data_folder):
    return Album(DetectionDataset(open_annotations(data_folder, "val")))


@pytest.fixture(scope="module")
def events(album, sure_model):
    return Events((Looker(sure_model(), "first"), Looker(sure_model(seed=1), "second")), album)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "mine.png"
    Image.effect_mandelbrot((128, 96), (-2, -1.5, 1, 1.5), 20).save(path)
    return path


def centre(box):
    x1, y1, x2, y2 = box.tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2


def test_a_data_set_is_leafed_through(events, album):
    session, view = events.start(Session())
    assert view.place == f"{album.name(0)} (1 of 6)" and view.said.startswith("first: ")
    scale = shown_scale((96, 128))
    assert view.annotated.shape == (round(96 * scale), round(128 * scale), 3)
    assert [each.shape for each in view.found] == [view.annotated.shape] * 2
    assert not np.array_equal(*view.found)
    session, view = events.step(session, -1)
    assert view.place.endswith("(6 of 6)")
    session, view = events.step(session, 1)
    assert view.place.endswith("(1 of 6)")
    session, view = events.open_named(session, " 000003.png ")
    assert view.place == "000003.png (3 of 6)"
    after, view = events.open_named(session, "000033.png")
    assert after.at == session.at and "must name one picture" in view.said and view.annotated is not None


def test_the_threshold_moves_without_the_network(events):
    session, _ = events.start(Session())
    before = [looker.num_looks for looker in events.lookers]
    counts = []
    for score in (0.05, 0.5, 0.95):
        session, view = events.change(session, events.limits_of(score, 0.6))
        counts.append(int(view.said.split("first: ")[1].split()[0]))
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert [looker.num_looks for looker in events.lookers] == before


def test_numbers_that_are_being_typed_are_no_errors(events):
    typed = [events.limits_of(*each) for each in ((None, None), (0, 0), (7, -3), ("x", 0.6), ("0.5", 2))]
    assert [each.min_score for each in typed] == [0.3, 0.01, 1, 0.3, 0.5]
    assert [each.max_iou for each in typed] == [None, 0, 0, None, 1]


def test_a_missed_object_and_a_wrong_detection_are_explained(events, album):
    session, plain = events.start(Session())
    scale = shown_scale((96, 128))
    boxes = annotated_boxes(album.annotations(0))
    session, view = events.click_annotated(session, *(scale * at for at in centre(boxes[0])))
    lines = view.said.splitlines()
    assert lines[0].startswith("annotated: ") and len(lines) == 3
    told = why(events.lookers[0].model, album.dataset, indices=[0], limits={"min_score": 0.3})
    miss = next(each for each in told.misses if each.object == session.chosen.row)
    assert lines[1].startswith(f"first: missed – {MISS_WORDS[miss.reason]}: {miss.words}")
    assert not np.array_equal(view.annotated, plain.annotated), "the chosen object is not framed"
    looks = [looker.num_looks for looker in events.lookers]
    found = events.lookers[0].found(session.shown.looks[0], session.limits)
    session, view = events.click_found(session, 0, *(scale * at for at in centre(found.boxes[0])))
    name, row = found.names[session.chosen.row], session.chosen.row
    assert view.said.startswith(f"first: {name}, score {float(found.scores[row]):.3f}, box ")
    assert any(f"wrong – {words}" in view.said for words in WRONG_WORDS.values())
    assert [looker.num_looks for looker in events.lookers] == looks, "reasons are asked for once"
    session, view = events.click_found(session, 0, -1, -1)
    assert view.said.startswith("No object there.") and session.chosen is None


def test_every_detection_has_its_verdict(events, album):
    session, _ = events.open_named(Session(limits=ShownLimits(min_score=0.3)), "000002.png")
    found = events.lookers[0].found(session.shown.looks[0], session.limits)
    session, _ = events._with_reasons(session, [0]), None
    verdicts = [session.reasons[0].of_detection(found, row) for row in range(len(found))]
    assert len(verdicts) > 3 and not any("not known" in each for each in verdicts)


def test_ones_own_picture_has_numbers_but_no_reasons(events, picture):
    session, view = events.upload(Session(limits=ShownLimits(min_score=0.05)), [str(picture)])
    assert view.place == "mine.png (1 of 1)" and view.annotated is None and len(view.found) == 2
    found = events.lookers[1].found(session.shown.looks[1], session.limits)
    scale = shown_scale((96, 128))
    session, view = events.click_found(session, 1, *(scale * at for at in centre(found.boxes[0])))
    assert view.said.startswith("second: ") and "\n" not in view.said
    assert events.click_annotated(session, 5, 5)[1].said == NOTHING_YET


def test_broken_files_are_said_and_left_behind(events, picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    session, view = events.upload(Session(), [str(tmp_path / "broken.png"), str(picture)])
    assert view.said == "cannot read broken.png: empty, or no picture in a known format"
    assert view.found == (None, None) and view.place == "broken.png (1 of 2)"
    assert events.change(session, ShownLimits(min_score=0.5))[1].found == (None, None)
    assert events.click_found(session, 0, 1, 1)[1].said == NOTHING_YET
    session, view = events.step(session, 1)
    assert view.place == "mine.png (2 of 2)" and view.found[0] is not None


def test_a_picture_of_the_data_set_that_is_gone(data_folder, sure_model, tmp_path):
    annotations = open_annotations(data_folder, "val")
    broken = Album(DetectionDataset(annotations))
    path = annotations.path(1)
    content = path.read_bytes()
    try:
        path.write_bytes(content[:100])
        _, view = Events((Looker(sure_model(), "a"),), broken).open_named(Session(), "000002.png")
    finally:
        path.write_bytes(content)
    assert view.said.startswith("cannot read 000002.png: ") and str(data_folder) not in view.said


def test_a_picture_without_annotations(sure_model, data_folder):
    annotations = open_annotations(data_folder, "val")
    empty = annotations.with_objects(np.zeros(len(annotations.labels), bool))
    events = Events((Looker(sure_model(), "a"),), Album(DetectionDataset(empty)))
    session, _ = events.start(Session())
    found = events.lookers[0].found(session.shown.looks[0], session.limits)
    at = (shown_scale((96, 128)) * each for each in centre(found.boxes[0]))
    said = events.click_found(session, 0, *at)[1].said
    assert said.endswith("nothing is annotated in this picture, so it finds nothing")


def test_two_people_share_nothing(events, picture):
    one, _ = events.start(Session())
    two, _ = events.upload(Session(), [str(picture)])
    one_after, view = events.step(one, 1)
    assert view.place == "000002.png (2 of 6)" and two.shown.name == "mine.png" and one.shown.index == 0
    assert one_after.files == () and two.shown.pixels is not one_after.shown.pixels


@pytest.fixture
def video(tmp_path):
    walk = WalkingFigures(num_videos=1, num_frames=6, image_size=(96, 128))
    path = tmp_path / "walk.mp4"
    with VideoWriter(path, frames_per_second=5) as writer:
        for number in range(6):
            writer.add(walk.frame(0, number).permute(1, 2, 0).numpy(), number / 5)
    return path


def test_a_video_is_followed(events, video, tmp_path):
    session, view = events.upload(Session(), [str(video)])
    assert view.is_film and view.found[0] is not None
    seen = list(events.follow(session, "byte"))
    assert seen[-1].said.startswith("walk.mp4: 6 frames followed") and "track" in seen[-1].said
    for view in events.follow(session, "byte"):
        if view.video is not None:
            assert [frame.picture.shape for frame in VideoSource(view.video)] == [(96, 128, 3)] * 6
    few = Events(events.lookers, max_frames=3)
    assert "first of about 6; --max-frames" in list(few.follow(session, "ocsort"))[-1].said
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:200])
    session, view = events.upload(Session(), [str(cut)])
    assert "cut.mp4" in view.said and not view.is_film
    assert list(events.follow(session, "byte"))[-1].said == "There is no video at hand."


@pytest.mark.parametrize("num_frames", [0, 3])
def test_a_video_that_is_stopped_says_nothing_more(events, video, num_frames):
    session, _ = events.upload(Session(), [str(video)])
    asked = []

    def is_over():
        asked.append(len(asked))
        return len(asked) > num_frames

    assert all(view.video is None for view in events.follow(session, "byte", is_over))
    assert len(asked) == num_frames + 1


@pytest.mark.slow
def test_a_model_of_clips_follows_a_video_and_refuses_a_picture(video, picture):
    small = {"width": 16, "head_depth": 1, "short_side": 64, "long_side": 80}
    model = pagoda.create_model("detect_and_track_resnet18_3d", num_classes=1, **small)
    events = Events((Looker(model, "clips"),))
    session, view = events.upload(Session(), [str(picture)])
    assert view.said.startswith("clips looks at clips of ") and "drop a video" in view.said
    session, view = events.upload(session, [str(video)])
    assert view.said == "clips looks at clips: follow the objects of the video"
    assert view.is_film and view.found == (None,)
    assert list(events.follow(session, "tubes"))[-1].said.startswith("walk.mp4: 6 frames followed")
